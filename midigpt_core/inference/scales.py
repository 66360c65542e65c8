"""The scales of pitch masks and the grids of rhythm masks, by the names that requests have for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Semitones above the root.
SCALES: Mapping[str, tuple[int, ...]] = {
    "chromatic": tuple(range(12)),
    "major": (0, 2, 4, 5, 7, 9, 11),
    "natural_minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic_minor": (0, 2, 3, 5, 7, 8, 11),
    "melodic_minor": (0, 2, 3, 5, 7, 9, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "locrian": (0, 1, 3, 5, 6, 8, 10),
    "major_pentatonic": (0, 2, 4, 7, 9),
    "minor_pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
    "whole_tone": (0, 2, 4, 6, 8, 10),
}
#: Quarter notes. The triplets without ``note`` are half as long as musicians call them: 0.4.2's clients rely on that.
GRID_UNITS: Mapping[str, float] = {
    "whole": 4,
    "half": 2,
    "quarter": 1,
    "eighth": 1 / 2,
    "sixteenth": 1 / 4,
    "quarter_triplet": 1 / 3,
    "eighth_triplet": 1 / 6,
    "sixteenth_triplet": 1 / 12,
    "quarter_note_triplet": 2 / 3,
    "eighth_note_triplet": 1 / 3,
    "sixteenth_note_triplet": 1 / 6,
}
