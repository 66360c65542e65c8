"""The notes in the generated bars, as generated and as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.score.note_rows import note_rows

if TYPE_CHECKING:
    from midigpt_core.records import Float64Array, GeneratedMusic, ScoreColumns
    from midigpt_core.score.note_rows import NoteRows


def notes_within(columns: ScoreColumns, music: GeneratedMusic, *, melodic: bool = False) -> NoteRows:
    """The notes of ``columns`` (generated or true) in the generated bars; ``melodic``: without drums."""
    notes = note_rows(columns)
    inside = music.cells[notes.piece, notes.track, notes.bar]
    return notes.where(inside & ~notes.drum if melodic else inside)


def bars_per_excerpt(music: GeneratedMusic) -> Float64Array:
    """Generated bars by excerpt: float64[N]."""
    bars: Float64Array = np.count_nonzero(music.cells, axis=(1, 2)).astype(np.float64)
    return bars
