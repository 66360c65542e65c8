"""Encodes a batch of windows and checks that the encoder keeps its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from midigpt_core.corpus.origins import origin
from midigpt_core.data.component_calls import call_on_windows
from midigpt_core.errors import ComponentError
from midigpt_core.records import SEQUENCE, TokenBatch, TokenStatus, WindowBatch

if TYPE_CHECKING:
    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Encoder
    from midigpt_core.records import BoolArray, Corpus

#: Statuses of documents that have tokens, by status number.
HAS_TOKENS = np.array(
    [status in (TokenStatus.OK, TokenStatus.CUT, TokenStatus.TRACKS_DROPPED) for status in TokenStatus]
)

_DTYPES = {"tokens": "int32", "offsets": "int64", "role": "uint8", "status": "uint8"}
_NOTHING = TokenBatch(
    tokens=np.zeros(0, dtype=np.int32),
    offsets=np.zeros(1, dtype=np.int64),
    role=np.zeros(0, dtype=np.uint8),
    status=np.zeros(0, dtype=np.uint8),
    masked_spans=np.zeros((0, 3), dtype=np.int64),
    positions=np.zeros(0, dtype=np.int32),
)


class CheckedEncoder:
    """An encoder for one corpus. Any failure in it becomes a :class:`ComponentError` that names the piece."""

    def __init__(self, encoder: Encoder, component: ComponentRef, corpus: Corpus, max_tokens: int) -> None:
        self._encoder = encoder
        self._component = component
        self._corpus = corpus
        self._max_tokens = max_tokens

    def encode(self, windows: WindowBatch, read: tuple[Corpus, WindowBatch] | None = None) -> TokenBatch:
        """The documents of ``windows``. ``read``: a corpus and the windows of it that are encoded in their place;
        messages name ``windows``."""
        corpus, encoded = read or (self._corpus, windows)
        if len(windows) == 0:
            return _NOTHING
        limit = np.full(len(windows), self._max_tokens, dtype=np.int32)

        def call(some: slice) -> TokenBatch:
            return self._encoder.encode_batch(corpus, _some(encoded, some), limit[some])

        def where(window: int) -> str:
            return self._where(windows, window)

        batch = call_on_windows(self._component, call, len(windows), where)
        self._check(batch, windows)
        return batch

    def _check(self, batch: TokenBatch, windows: WindowBatch) -> None:
        problem = contradiction(batch, len(windows))
        if problem:
            self._refuse(f"encode_batch returned {problem}", windows, 0)
        lengths = np.diff(batch.offsets)
        self._refuse_any(batch.status >= len(HAS_TOKENS), "an unknown status", windows)
        self._refuse_any(lengths > self._max_tokens, f"more than {self._max_tokens} tokens", windows)
        self._refuse_any((lengths > 0) != HAS_TOKENS[batch.status], "tokens that contradict the status", windows)
        size = self._encoder.vocab_size
        if len(batch.tokens) and (int(batch.tokens.min()) < 0 or int(batch.tokens.max()) >= size):
            at = int(np.argmax((batch.tokens < 0) | (batch.tokens >= size)))
            window = int(np.searchsorted(batch.offsets, at, side="right")) - 1
            self._refuse(f"token id {batch.tokens[at]} is outside the vocabulary of {size}", windows, window)
        self._check_positions(batch, windows)

    def _check_positions(self, batch: TokenBatch, windows: WindowBatch) -> None:
        setting = self._encoder.infill_positions
        if (batch.positions is None) != (setting == SEQUENCE):
            given = "no positions" if batch.positions is None else "positions"
            self._refuse(f"encode_batch returned {given}, with infill_positions {setting!r}", windows, 0)
        if batch.positions is None:
            return
        wrong = (batch.positions < 0) | (batch.positions >= self._max_tokens)
        if wrong.any():
            at = int(np.argmax(wrong))
            window = int(np.searchsorted(batch.offsets, at, side="right")) - 1
            self._refuse(f"position {batch.positions[at]} is not in 0..{self._max_tokens - 1}", windows, window)

    def _refuse_any(self, wrong: BoolArray, message: str, windows: WindowBatch) -> None:
        if wrong.any():
            self._refuse(f"encode_batch returned {message}", windows, int(np.argmax(wrong)))

    def _refuse(self, message: str, windows: WindowBatch, window: int) -> None:
        raise ComponentError(str(self._component), self._where(windows, window), ValueError(message))

    def _where(self, windows: WindowBatch, window: int) -> str:
        place = origin(self._corpus, int(windows.piece[window]))
        first = int(windows.start_bar[window])
        return f"{place}, bars {first} to {first + int(windows.num_bars[window]) - 1}"


def contradiction(batch: object, num_windows: int) -> str:
    """What is wrong with the form of a token batch; empty if nothing is."""
    if not isinstance(batch, TokenBatch):
        return f"a {type(batch).__name__}, not a TokenBatch"
    for name, dtype in _DTYPES.items():
        column = getattr(batch, name)
        if not isinstance(column, np.ndarray) or column.dtype != dtype or column.ndim != 1:
            return f"{name} that are not a one-dimensional array of {dtype}"
    total = len(batch.tokens)
    if batch.positions is not None and (batch.positions.dtype != np.int32 or batch.positions.shape != (total,)):
        return "positions that are not one int32 for each token"
    if (len(batch.offsets), len(batch.status), len(batch.role)) != (num_windows + 1, num_windows, total):
        return "columns whose lengths do not fit together"
    if batch.offsets[0] != 0 or batch.offsets[-1] != total or (np.diff(batch.offsets) < 0).any():
        return "offsets that do not run from 0 to the number of tokens"
    return ""


def _some(windows: WindowBatch, some: slice) -> WindowBatch:
    """A run of the windows that :mod:`midigpt_core.data.windows` draws (which have no attribute values)."""
    if some == slice(0, len(windows)):
        return windows
    cut: dict[str, Any] = {}
    for name in attrs.fields_dict(WindowBatch):
        column = getattr(windows, name)
        if isinstance(column, np.ndarray):
            cut[name] = column[some]
    return attrs.evolve(windows, **cut)
