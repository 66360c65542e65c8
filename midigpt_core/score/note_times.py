"""When the notes of a track sound, in quarter notes from its first bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from midigpt_core.records import Float64Array, Int64Array
    from midigpt_core.score.score import Track

#: The duration of a drum note has no meaning; a sixteenth is visible.
_DRUM = 0.25


@frozen(eq=False, kw_only=True)
class NoteTimes:
    """Times of the n notes of a track of B bars, in the order of its notes."""

    #: float64[B+1], where bars begin, and where the last one ends.
    bar_starts: Float64Array
    #: int64[n], the bar that a note starts in.
    bar: Int64Array
    #: float64[n] each.
    start: Float64Array
    duration: Float64Array


def note_times(track: Track) -> NoteTimes:
    columns, run, cells = track.score.columns, track.bar_run, track.cell_run
    bar_starts = np.concatenate([[0.0], np.cumsum(columns.bar_length[run])])
    cell_ends = columns.cell_note_end
    before = np.concatenate([[0], cell_ends[:-1]])
    bar = np.repeat(columns.cell_bar[cells], (cell_ends - before)[cells]).astype(np.int64)
    notes = track.notes
    resolution = columns.resolution
    return NoteTimes(
        bar_starts=bar_starts,
        bar=bar,
        start=bar_starts[bar] + (notes.onset + notes.microtiming / resolution) / resolution,
        duration=np.full(len(notes), _DRUM) if track.is_drum else notes.duration / resolution,
    )
