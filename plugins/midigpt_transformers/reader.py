"""Reads sequences on the CPU with native kernels: see :class:`midigpt_core.contracts.SequenceReader`.

A token costs one pass over the weights and no Python. A sequence's logits are the same, bit for bit, whatever else is
in its batch and however many tokens come at once, because every sum has a fixed order.

The kernels know the parts of a GPT-2 and of a Llama by their names:

========================  =============================================================================================
``tokens``                embedding [vocabulary, width]
``positions``             learned positions [n_positions, width]; or
``speeds``                of rotary positions, [head size / 2] radians: by how much a position turns the numbers i and
                          i + head size / 2 of a head
``N.norm_1``              norm before the attention of block N: ``.weight``, and ``.bias`` of a layer norm; without it,
                          an RMS norm (``norm_2``: before the feed-forward layers, ``norm``: before the head)
``N.queries``             ``.weight`` [width, width], and ``.bias`` if there is one, as all that follow
``N.keys``, ``N.values``  [``kv_heads`` times head size, width]
``N.projection``          [width, width]
``N.gate``                [inner width, width], of SwiGLU; without it, GELU (the tanh form)
``N.expansion``           [inner width, width]
``N.contraction``         [width, inner width]
``head``                  [vocabulary, width]
========================  =============================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from midigpt_transformers import _reader

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from midigpt_core.records import Float32Array, Int32Array, Int64Array

#: Precisions of the weights for reading; activations, keys and values are always float32.
PRECISIONS = ("float32", "bfloat16", "int8")


class Reader:
    """A packed copy of a model's weights; further training does not change it.

    ``tensors`` are named as above; ``sizes`` is the model's ``architecture_config()``, with ``n_kv_head`` and
    ``n_inner`` if they are not ``n_head`` and four times ``n_embd``. ``instruction_set``: one of
    ``_reader.instruction_sets()``; empty: the fastest.
    """

    def __init__(
        self, tensors: Mapping[str, Tensor], sizes: Mapping[str, int], precision: str, instruction_set: str = ""
    ) -> None:
        arrays = {name: tensor.detach().to("cpu", torch.float32).numpy() for name, tensor in tensors.items()}
        self._model = _reader.Model(
            arrays,
            vocab=sizes["vocab_size"],
            positions=sizes["n_positions"],
            width=sizes["n_embd"],
            layers=sizes["n_layer"],
            heads=sizes["n_head"],
            kv_heads=sizes.get("n_kv_head", sizes["n_head"]),
            inner=sizes.get("n_inner", 4 * sizes["n_embd"]),
            precision=precision,
        )
        self._positions = sizes["n_positions"]
        self._instruction_set = instruction_set or _reader.instruction_sets()[0]

    def open(self, count: int, capacity: int) -> ReadSequences:
        return ReadSequences(self._model, self._instruction_set, count, capacity, torch.get_num_threads())

    def batch(self) -> ReadBatch:
        """Reads steps of several threads' sequences together, see :class:`midigpt_core.contracts.SequenceBatch`."""
        return ReadBatch(self._model, self._instruction_set, self._positions)


class ReadBatch:
    """See :class:`midigpt_core.contracts.SequenceBatch`."""

    def __init__(self, model: _reader.Model, instruction_set: str, capacity: int) -> None:
        self._model = model
        self._instruction_set = instruction_set
        self._native = _reader.Sequences(
            model, count=0, capacity=capacity, threads=torch.get_num_threads(), instruction_set=instruction_set
        )

    def open(self, count: int, capacity: int) -> ReadSequences:
        # The threads of the batch read them.
        return ReadSequences(self._model, self._instruction_set, count, capacity, 1)

    def step(self, steps: Sequence[tuple[Any, Int32Array, Int32Array, Int64Array, Float32Array]]) -> None:
        self._native.step_together([(sequences._native, *arrays) for sequences, *arrays in steps])


class ReadSequences:
    """See :class:`midigpt_core.contracts.Sequences`."""

    def __init__(self, model: _reader.Model, instruction_set: str, count: int, capacity: int, threads: int) -> None:
        self._model = model
        self._instruction_set = instruction_set
        self._capacity = capacity
        self._threads = threads
        self._native = _reader.Sequences(
            model, count=count, capacity=capacity, threads=threads, instruction_set=instruction_set
        )
        #: Bound to the native method directly, because it is called once per token.
        self.step = self._native.step

    def fork(self, sources: Int64Array) -> ReadSequences:
        made = ReadSequences(self._model, self._instruction_set, len(sources), self._capacity, self._threads)
        made._native.begin_as(self._native, np.ascontiguousarray(sources, np.int64))
        return made
