"""The notes of a batch of windows as flat arrays: what a plugin computes the levels of an attribute control from."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa
    from numpy.typing import ArrayLike, NDArray

    from midigpt_core.records import BoolArray, Int16Array, Int32Array, Int64Array, UInt8Array

#: The numerators that count three short notes to a beat, from 6/8 on.
_COMPOUND = 3


def _no_metadata(_name: str) -> None:
    return None


@frozen(eq=False, kw_only=True, slots=False)
class WindowNotes:
    """The notes of N windows with room for T tracks of B bars, as the encoder writes them: on its grid, transposed,
    with velocities scaled.

    M notes follow one another by window, track, bar, onset and pitch. Arrays are read-only by convention: every
    attribute control of a batch gets the same ones.
    """

    #: Ticks per quarter note.
    resolution: int
    #: (N, T, B).
    shape: tuple[int, int, int]
    #: int64[N * T * B + 1], the run of the notes of each bar: bar ``b`` of track ``t`` of window ``n`` is
    #: ``(n * T + t) * B + b``.
    offsets: Int64Array
    #: int32[M], ticks from the start of the note's bar.
    onset: Int32Array
    #: int32[M], ticks, at least 1.
    duration: Int32Array
    #: uint8[M], 0..127.
    pitch: UInt8Array
    #: uint8[M], 0..127.
    velocity: UInt8Array
    #: int32[N, T], bars of each track; -1: there is no such track.
    num_bars: Int32Array
    #: uint8[N, T], MIDI program 0..127.
    program: UInt8Array
    #: bool[N, T], whether it is a drum track.
    drum: BoolArray
    #: int32[N, T, B], numerator of the bar's time signature; 0 where there is no bar.
    numerator: Int32Array
    #: int32[N, T, B], denominator of the bar's time signature, at least 1.
    denominator: Int32Array
    #: ``metadata(name)`` is the source's column ``name`` as an Arrow array of N values, those of the windows' pieces;
    #: None if the corpus has no such column. A score that is not from a corpus has none.
    metadata: Callable[[str], pa.Array | None] = field(default=_no_metadata)

    def __len__(self) -> int:
        """M."""
        return len(self.onset)

    @cached_property
    def bar(self) -> Int64Array:
        """int64[M], the bar of each note among the N * T * B bars."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    @cached_property
    def bar_ticks(self) -> Int64Array:
        """int64[N, T, B], the length of each bar by its time signature; 0 where there is no bar."""
        return 4 * self.resolution * self.numerator.astype(np.int64) // np.maximum(self.denominator, 1)

    @cached_property
    def beat_ticks(self) -> Int64Array:
        """int64[N, T, B], the length of a beat: the unit of the time signature's denominator, three of them in compound
        time (6/8, 9/8, 12/8); at least 1."""
        unit = 4 * self.resolution // np.maximum(self.denominator, 1).astype(np.int64)
        compound = (self.denominator >= 8) & (self.numerator > _COMPOUND) & (self.numerator % _COMPOUND == 0)
        return np.maximum(np.where(compound, _COMPOUND * unit, unit), 1)

    @cached_property
    def bar_start(self) -> Int64Array:
        """int64[N, T, B], ticks from the start of the window to the start of the bar."""
        starts: Int64Array = np.cumsum(self.bar_ticks, axis=2) - self.bar_ticks
        return starts

    @cached_property
    def start(self) -> Int64Array:
        """int64[M], the onset of each note in ticks from the start of its window."""
        return self.bar_start.reshape(-1)[self.bar] + self.onset

    @cached_property
    def is_new_onset(self) -> BoolArray:
        """bool[M], whether a note is the first of its track at this onset: the lowest note of a chord."""
        new = np.ones(len(self), np.bool_)
        new[1:] = (self.bar[1:] != self.bar[:-1]) | (self.onset[1:] != self.onset[:-1])
        return new

    def per_bar(self, values: ArrayLike | None = None) -> NDArray[Any]:
        """Sums of ``values`` [M] (numbers or booleans) over the notes of each bar: float64[N, T, B]; None: the number
        of notes, int64[N, T, B]."""
        if values is None:
            return np.diff(self.offsets).reshape(self.shape)
        return np.bincount(self.bar, np.asarray(values, np.float64), len(self.offsets) - 1).reshape(self.shape)

    def per_track(self, values: ArrayLike | None = None) -> NDArray[Any]:
        """As :meth:`per_bar`, over the notes of each track: [N, T]."""
        sums: NDArray[Any] = self.per_bar(values).sum(axis=2)
        return sums

    def bar_histogram(self, classes: ArrayLike, size: int, weights: ArrayLike | None = None) -> NDArray[np.float64]:
        """How often each of ``size`` classes occurs in each bar: float64[N, T, B, size].

        ``classes`` [M] are integers 0 .. size-1; ``weights`` [M] count instead of 1.
        """
        place = self.bar * size + np.asarray(classes)
        given = None if weights is None else np.asarray(weights, np.float64)
        counts = np.bincount(place, given, (len(self.offsets) - 1) * size)
        return counts.astype(np.float64, copy=False).reshape(*self.shape, size)

    def track_histogram(self, classes: ArrayLike, size: int, weights: ArrayLike | None = None) -> NDArray[np.float64]:
        """As :meth:`bar_histogram`, of each track: float64[N, T, size]."""
        bars = max(self.shape[2], 1)
        place = self.bar // bars * size + np.asarray(classes)
        given = None if weights is None else np.asarray(weights, np.float64)
        counts = np.bincount(place, given, self.shape[0] * self.shape[1] * size)
        return counts.astype(np.float64, copy=False).reshape(*self.shape[:2], size)


def levels(values: ArrayLike, edges: ArrayLike) -> Int16Array:
    """The level of each value: how many of the ascending ``edges`` are at most the value, so ``len(edges) + 1`` levels;
    -1 for NaN, which stands for no value. Any shape."""
    numbers = np.asarray(values, np.float64)
    found = np.searchsorted(np.asarray(edges, np.float64), numbers, side="right").astype(np.int16)
    return np.where(np.isnan(numbers), np.int16(-1), found)
