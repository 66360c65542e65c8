"""Fingerprints of bars: equal for bars of equal notes, exactly or transposed, so that copies are found by a lookup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.score.note_rows import cell_rows

if TYPE_CHECKING:
    from midigpt_core.records import ScoreColumns, UInt64Array
    from midigpt_core.score.note_rows import CellRows

#: Steps per quarter note on which onsets are compared: a 32nd triplet is the finest value that it separates.
GRID = 12
#: Bars of fewer notes are too common to be copies.
LEAST_NOTES = 4

_ONSET, _COUNT, _DRUM = (np.uint64(value) for value in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03, 0x8CB92BA72F3D8DD7))


def bar_fingerprints(columns: ScoreColumns, first: int = 0, end: int | None = None) -> tuple[CellRows, UInt64Array]:
    """The cells of the pieces ``first`` to ``end`` (exclusive; None: the last), and the fingerprint uint64[C] of each.

    Two bars of melodic tracks have equal fingerprints if they have the same notes on a grid of :data:`GRID` steps per
    quarter, apart from a transposition: the same onsets, rounded down as encoders do, and the same intervals. In drum
    bars the pitches themselves must be equal. Durations, velocities, programs and time signatures do not count. Other
    bars collide with a probability of 2**-64. Takes memory for about ten values of 8 bytes per note.
    """
    cells = cell_rows(columns, first, end)
    if not len(cells):
        return cells, np.zeros(0, np.uint64)
    start = int(columns.note_offsets[first])
    notes = slice(start, start + int(cells.notes.sum()))
    starts = np.cumsum(cells.notes) - cells.notes
    pitch = columns.note_pitch[notes]
    lowest = np.where(cells.drum, 0, np.minimum.reduceat(pitch, starts)).astype(np.uint8)
    onset = columns.note_onset[notes].astype(np.int64) * GRID // columns.resolution
    # The order of notes within a bar must not matter, so the notes' own hashes are added up.
    place = onset.astype(np.uint64) << np.uint64(8) | (pitch - np.repeat(lowest, cells.notes)).astype(np.uint64)
    sums = np.add.reduceat(_mixed(place + _ONSET), starts)
    whole = sums ^ (cells.notes.astype(np.uint64) * _COUNT) ^ (cells.drum.astype(np.uint64) * _DRUM)
    return cells, _mixed(whole)


def _mixed(values: UInt64Array) -> UInt64Array:
    """A bijection of 64 bits in which each bit depends on all others: the finaliser of splitmix64 (Steele, Lea and
    Flood, "Fast splittable pseudorandom number generators", 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
