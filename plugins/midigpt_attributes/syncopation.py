"""Syncopation as weighted note-to-beat distance (WNBD).

F. Gómez, A. Melvin, D. Rappaport and G. T. Toussaint, "Mathematical measures of syncopation", Proc. BRIDGES:
Mathematical Connections in Art, Music and Science, 2005, pp. 73-84.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.score.window_notes import levels

if TYPE_CHECKING:
    from midigpt_core.records import Float64Array, Int16Array
    from midigpt_core.score.window_notes import WindowNotes

#: Where the levels 1 to 7 begin: level 0 is a bar whose notes are all on beats, son clave (2.8) is level 5.
EDGES = (0.01, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)


def syncopation(notes: WindowNotes) -> Int16Array:
    """The level of each bar: int16[N, T, B], -1 for a bar in which no note begins."""
    return levels(wnbd(notes), EDGES)


def wnbd(notes: WindowNotes) -> Float64Array:
    """The WNBD of each bar: float64[N, T, B], NaN for a bar in which no note begins.

    It is the mean of D over the onsets of the bar. Notes at one onset count once, and a note ends where the next one of
    its track begins, or with the window. With T the distance to the nearest beat in beats, D of an onset is 0 on a
    beat, 2 / T if the note ends after the next beat and before the one after that, and otherwise 1 / T.
    """
    first = np.flatnonzero(notes.is_new_onset)
    bar, start = notes.bar[first], notes.start[first]
    track = bar // max(notes.shape[2], 1)
    window_end = notes.bar_ticks.sum(axis=2).reshape(-1)
    end = window_end[track]
    follows = track[1:] == track[:-1]
    end[:-1][follows] = start[1:][follows]
    beat = notes.beat_ticks.reshape(-1)[bar]
    after_beat = notes.onset[first] % beat
    to_next_beat = beat - after_beat
    nearest = np.minimum(after_beat, to_next_beat)
    length = end - start
    crosses_one = (length > to_next_beat) & (length < to_next_beat + beat)
    distance = np.where(crosses_one, 2.0, 1.0) * beat / np.maximum(nearest, 1)
    distance[nearest == 0] = 0.0
    size = len(notes.offsets) - 1
    sums = np.bincount(bar, distance, size)
    counts = np.bincount(bar, minlength=size)
    mean = np.full(size, np.nan)
    np.divide(sums, counts, out=mean, where=counts > 0)
    return mean.reshape(notes.shape)
