"""Music compared regardless of key, tempo, loudness, instruments and the order of its tracks.

Everything is computed on columns. Hashes are sums of well mixed 64-bit integers: a sum does not depend on the order of
its terms, so notes and tracks need not be sorted. They distinguish music that was not made to collide; they do not
resist an attacker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from midigpt_core.records import Int64Array, ScoreColumns, UInt64Array

    UInt32Array = NDArray[np.uint32]

#: Values of a sketch.
SKETCH_SIZE = 32
#: Raise with every change of a hash.
SIMILARITY_VERSION = 1

# Notes that are worked on at once: some hundred megabytes.
_NOTES_AT_ONCE = 2 << 20
_EMPTY = np.uint32(0xFFFFFFFF)
_SKETCH_BITS = SKETCH_SIZE.bit_length() - 1


@frozen(eq=False)
class MusicKeys:
    """What P pieces sound like, apart from key, tempo, loudness, instruments and track order."""

    #: uint64[P]: equal for pieces with the same notes at the same places, transposed as a whole or not.
    exact: UInt64Array
    #: uint32[P, SKETCH_SIZE], a MinHash over the pieces' bars (each bar of each track, transposed on its own): the
    #: share of equal values estimates the share of equal bars.
    sketch: UInt32Array
    #: int64[P], how many different bars the sketch is made of.
    bars: Int64Array


def music_keys(columns: ScoreColumns) -> MusicKeys:
    """The keys of all pieces. Velocities, microtiming, tempo, programs and the order of tracks and notes do not count;
    of a piece's drums, pitches do."""
    exact = np.zeros(columns.num_pieces, np.uint64)
    sketch = np.full((columns.num_pieces, SKETCH_SIZE), _EMPTY, np.uint32)
    bars = np.zeros(columns.num_pieces, np.int64)
    for first, last in _spans(columns.note_offsets):
        if columns.note_offsets[last] > columns.note_offsets[first]:
            _fill(columns, first, last, MusicKeys(exact[first:last], sketch[first:last], bars[first:last]))
    return MusicKeys(exact, sketch, bars)


def _spans(offsets: Int64Array) -> Iterator[tuple[int, int]]:
    """Runs of pieces with at most :data:`_NOTES_AT_ONCE` notes together, but at least one piece."""
    first, pieces = 0, len(offsets) - 1
    while first < pieces:
        last = int(np.searchsorted(offsets, offsets[first] + _NOTES_AT_ONCE, side="right")) - 1
        last = min(pieces, max(first + 1, last))
        yield first, last
        first = last


def _fill(columns: ScoreColumns, first: int, last: int, out: MusicKeys) -> None:
    """Write the keys of pieces ``first`` to ``last`` (exclusive) into the arrays of ``out``."""
    tracks = slice(*columns.track_offsets[[first, last]].tolist())
    cells = slice(*columns.cell_offsets[[first, last]].tolist())
    notes = slice(*columns.note_offsets[[first, last]].tolist())
    pieces = last - first
    cell_piece = np.repeat(np.arange(pieces), np.diff(columns.cell_offsets[first : last + 1]))
    track_piece = np.repeat(np.arange(pieces), np.diff(columns.track_offsets[first : last + 1]))
    # Runs are given by their ends within the piece; here they are counted from the span's first one.
    note_base = columns.note_offsets[first:last] - notes.start
    cell_base = columns.cell_offsets[first:last] - cells.start
    cell_end = columns.cell_note_end[cells].astype(np.int64) + note_base[cell_piece]
    track_end = columns.track_cell_end[tracks].astype(np.int64) + cell_base[track_piece]
    cell_start = _starts(cell_end)
    cell_track = np.repeat(np.arange(len(track_end)), np.diff(track_end, prepend=0))
    drum = columns.track_drum[tracks][cell_track] != 0

    pitch = columns.note_pitch[notes].astype(np.int64)
    low = np.where(drum, 0, np.minimum.reduceat(pitch, cell_start))
    note_cell = np.repeat(np.arange(len(cell_end)), cell_end - cell_start)
    place = columns.note_onset[notes].astype(np.int64) << 32 | columns.note_duration[notes].astype(np.int64)
    note = _mixed(_mixed(place) + _as_unsigned(pitch - low[note_cell]))
    # One bar of one track, transposed so that its lowest pitch is 0.
    cell = _mixed(np.add.reduceat(note, cell_start) + drum)

    # Where the bars are, in time and in pitch: relative to the lowest pitch of the piece that is not a drum's.
    reference = np.full(pieces, 127, np.int64)
    np.minimum.at(reference, cell_piece[~drum], low[~drum])
    height = np.where(drum, 0, low - reference[cell_piece])
    placed = _mixed(cell + _mixed(columns.cell_bar[cells].astype(np.int64) << 32 | height))
    track = np.zeros(len(track_end), np.uint64)
    np.add.at(track, cell_track, placed)
    np.add.at(out.exact, track_piece, np.where(track == 0, track, _mixed(track)))

    _sketch(cell_piece, cell, out.sketch, out.bars)


def _sketch(piece: Int64Array, cell: UInt64Array, sketch: UInt32Array, bars: Int64Array) -> None:
    """One permutation hashing: a hash falls into the bin that its first bits name, and each bin keeps its least."""
    order = np.lexsort((cell, piece))
    piece, cell = piece[order], cell[order]
    is_new = np.ones(len(cell), np.bool_)
    is_new[1:] = (cell[1:] != cell[:-1]) | (piece[1:] != piece[:-1])
    piece, cell = piece[is_new], cell[is_new]
    bars += np.bincount(piece, minlength=len(bars))
    bins = (cell >> np.uint64(64 - _SKETCH_BITS)).astype(np.int64)
    values = (cell & np.uint64(0xFFFFFFFE)).astype(np.uint32)
    np.minimum.at(sketch.reshape(-1), piece * SKETCH_SIZE + bins, values)
    # An empty bin takes the value of the next one that is not: two pieces with the same bars still have equal values.
    filled = sketch != _EMPTY
    for step in range(1, SKETCH_SIZE):
        empty = sketch == _EMPTY
        if not (empty & filled.any(axis=1)[:, None]).any():
            break
        borrowed = np.roll(sketch, -1, axis=1) + np.uint32(2 * step + 1)
        usable = empty & (np.roll(sketch, -1, axis=1) != _EMPTY)
        sketch[usable] = borrowed[usable]


def _starts(ends: Int64Array) -> Int64Array:
    return np.concatenate([[0], ends[:-1]]) if len(ends) else ends


def _as_unsigned(values: NDArray[Any]) -> UInt64Array:
    return values.astype(np.int64).view(np.uint64)


def _mixed(values: NDArray[Any]) -> UInt64Array:
    """The finaliser of splitmix64: every bit of the result depends on every bit of the value."""
    mixed = (values if values.dtype == np.uint64 else _as_unsigned(values)) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
