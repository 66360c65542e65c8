"""Reads sequences on the CPU with native kernels: see :class:`midigpt_core.contracts.SequenceReader`.

A token costs one pass over the weights and no Python. A sequence's logits are the same, bit for bit, whatever else is
in its batch and however many tokens come at once, because every sum has a fixed order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from midigpt_gpt2 import _gpt2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from midigpt_core.records import Int64Array

#: Precisions of the weights for reading; activations, keys and values are always float32.
PRECISIONS = ("float32", "bfloat16", "int8")


class Gpt2Reader:
    """A packed copy of the weights of a GPT-2; further training does not change it.

    ``instruction_set``: one of ``_gpt2.instruction_sets()``; empty: the fastest.
    """

    def __init__(
        self, state_dict: Mapping[str, Tensor], sizes: Mapping[str, int], precision: str, instruction_set: str = ""
    ) -> None:
        tensors = {name: tensor.detach().to("cpu", torch.float32).numpy() for name, tensor in state_dict.items()}
        self._model = _gpt2.Model(
            tensors,
            vocab=sizes["vocab_size"],
            positions=sizes["n_positions"],
            width=sizes["n_embd"],
            layers=sizes["n_layer"],
            heads=sizes["n_head"],
            precision=precision,
        )
        self._instruction_set = instruction_set or _gpt2.instruction_sets()[0]

    def open(self, count: int, capacity: int) -> Gpt2Sequences:
        return Gpt2Sequences(self._model, self._instruction_set, count, capacity)


class Gpt2Sequences:
    """See :class:`midigpt_core.contracts.Sequences`."""

    def __init__(self, model: _gpt2.Model, instruction_set: str, count: int, capacity: int) -> None:
        self._model = model
        self._instruction_set = instruction_set
        self._capacity = capacity
        self._native = _gpt2.Sequences(
            model, count=count, capacity=capacity, threads=torch.get_num_threads(), instruction_set=instruction_set
        )
        #: Bound to the native method directly, because it is called once per token.
        self.step = self._native.step

    def fork(self, sources: Int64Array) -> Gpt2Sequences:
        made = Gpt2Sequences(self._model, self._instruction_set, len(sources), self._capacity)
        made._native.begin_as(self._native, np.ascontiguousarray(sources, np.int64))
        return made
