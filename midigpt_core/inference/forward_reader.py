"""Reads sequences with a model's forward pass, for architectures and devices without a reader of their own."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import nn

    from midigpt_core.records import Float32Array, Int32Array, Int64Array


class ForwardReader:
    """See :class:`midigpt_core.contracts.SequenceReader`.

    One sequence at a time, so that its logits do not depend on what else is in the batch.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def open(self, count: int, capacity: int) -> ForwardSequences:
        nothing = np.zeros((0, 2), np.int64)
        return ForwardSequences(self._model, [nothing] * count)


class ForwardSequences:
    """See :class:`midigpt_core.contracts.Sequences`. Keys and values are kept where the model makes a cache."""

    def __init__(self, model: nn.Module, read: list[Any]) -> None:
        self._model: Any = model
        #: int64[n, 2] for each sequence: the tokens that were read, and their positions.
        self._read = read
        self._caches: list[Any] = [None] * len(read)
        self._in_use = Lock()

    def step(self, tokens: Int32Array, positions: Int32Array, offsets: Int64Array, logits: Float32Array) -> None:
        if not self._in_use.acquire(blocking=False):
            raise RuntimeError("Sequences: another thread is using it. Make one for each thread.")
        try:
            self._read_all(tokens, positions, offsets, logits)
        finally:
            self._in_use.release()

    @torch.inference_mode()
    def _read_all(self, tokens: Int32Array, positions: Int32Array, offsets: Int64Array, logits: Float32Array) -> None:
        for index in range(len(self._read)):
            run = slice(int(offsets[index]), int(offsets[index + 1]))
            if run.start == run.stop:
                continue
            added = np.stack([tokens[run], positions[run]], axis=1).astype(np.int64)
            self._read[index] = np.concatenate([self._read[index], added])
            logits[index] = self._last_logits(index, added)

    def fork(self, sources: Int64Array) -> ForwardSequences:
        return ForwardSequences(self._model, [self._read[source] for source in sources.tolist()])

    def _last_logits(self, index: int, added: Any) -> Float32Array:
        unread, cache = self._read[index], None
        if hasattr(self._model, "make_cache"):
            if self._caches[index] is None:
                self._caches[index] = self._model.make_cache()
            elif len(added) < len(unread):
                unread = added
            cache = self._caches[index]
        device = next(self._model.parameters()).device
        pairs = torch.from_numpy(unread).to(device)
        out = self._model(pairs[None, :, 0], position_ids=pairs[None, :, 1], cache=cache)
        last: Float32Array = out[0, -1].float().cpu().numpy()
        return last
