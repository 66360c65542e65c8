"""What ``/generated/features`` says of a bar."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The unit of durations, of midigpt 0.4.2's presets.
_TICKS_PER_QUARTER = 1_920


def features(
    notes: Sequence[tuple[int, int, float, float]], numerator: int, quarters: float
) -> tuple[float, float, float, int, float, int, int, int]:
    """Of the notes (pitch, velocity, onset, duration; times as fractions of a bar of so many ``quarters``): notes per
    beat of the numerator, mean pitch, mean velocity, most notes that sound at an onset, mean duration in bars, fewest
    notes that sound at an onset, shortest and longest duration in 1/1,920 of a quarter."""
    count = len(notes)
    durations = [round(duration * quarters * _TICKS_PER_QUARTER) for *_, duration in notes]
    sounding = [sum(onset <= at + 1e-9 < onset + duration for *_, onset, duration in notes) for *_, at, _ in notes]
    return (
        count / numerator,
        sum(pitch for pitch, *_ in notes) / count,
        sum(velocity for _, velocity, *_ in notes) / count,
        max(sounding),
        sum(duration for *_, duration in notes) / count,
        min(sounding),
        min(durations),
        max(durations),
    )
