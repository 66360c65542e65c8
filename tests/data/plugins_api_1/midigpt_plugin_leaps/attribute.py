"""How far the notes of a track leap, on average."""

import numpy as np

from midigpt_core.score.window_notes import levels

#: Where the levels 1 to 5 begin, in semitones: level 0 is a track of repeated notes and half steps.
EDGES = (1.5, 2.5, 4.0, 6.0, 9.0)


def compute(notes):
    """The level of each track of N windows: int16[N, T], -1 for a track without leaps.

    ``notes`` is a midigpt_core.score.window_notes.WindowNotes: flat arrays of all notes, by window, track, bar, onset.
    """
    lowest = np.flatnonzero(notes.is_new_onset)
    pitch = notes.pitch[lowest].astype(int)
    bars = max(notes.shape[2], 1)
    track = notes.bar[lowest] // bars
    follows = track[1:] == track[:-1]
    size = notes.shape[0] * notes.shape[1]
    leaps = np.bincount(track[1:][follows], minlength=size)
    sums = np.bincount(track[1:][follows], np.abs(np.diff(pitch))[follows], size)
    mean = np.where(leaps > 0, sums / np.maximum(leaps, 1), np.nan)
    return levels(mean.reshape(notes.shape[:2]), EDGES)
