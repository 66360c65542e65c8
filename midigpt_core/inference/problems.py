"""Collects the problems of a request; those that repeat for tracks or bars become one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The most ranges of bars or tracks that a message names.
_MOST_RANGES = 12


class Found:
    """Problems in the order in which they were found. One that repeats for several tracks or bars counts once."""

    def __init__(self) -> None:
        #: (text before the bars, text after them) -> track (None: no track) -> bars.
        self._problems: dict[tuple[str, str], dict[int | None, set[int]]] = {}

    def __len__(self) -> int:
        return len(self._problems)

    def add(self, text: str, track: int | None = None, *, bars: Iterable[int] = (), after: str = "") -> None:
        """Add a problem of ``track``: ``text``, the ranges of ``bars``, ``after``."""
        self._problems.setdefault((text, after), {}).setdefault(track, set()).update(bars)

    def add_at(self, path: str, text: str) -> None:
        """Add ``text``, which begins with ``path``, the place of the value. Places in one list become one problem."""
        place = re.match(r"(.*\[)(\d{1,9})(\].*)", path)
        if place is None:
            self.add(text)
        else:
            self.add(place[1], bars=[int(place[2])], after=place[3] + text.removeprefix(path))

    def told(self) -> list[str]:
        """A line for each problem."""
        lines = []
        for (text, after), by_track in self._problems.items():
            alike: dict[tuple[int, ...], list[int | None]] = {}
            for track, bars in by_track.items():
                alike.setdefault(tuple(sorted(bars)), []).append(track)
            for places, tracks in alike.items():
                numbers = sorted({track for track in tracks if track is not None})
                of = f"track{'s' if len(numbers) > 1 else ''} {bar_ranges(numbers, _MOST_RANGES)}: " if numbers else ""
                lines.append(f"{of}{text}{bar_ranges(places, _MOST_RANGES)}{after}")
        return lines


def bar_ranges(bars: Iterable[int], most: int | None = None) -> str:
    """Ascending bars as text, ``0-3, 8``: the first ``most`` ranges, then the number of further ones."""
    runs: list[list[int]] = []
    for bar in bars:
        if runs and bar == runs[-1][-1] + 1:
            runs[-1][1:] = [bar]
        else:
            runs.append([bar])
    text = ", ".join("-".join(map(str, run)) for run in runs[:most])
    return text if most is None or len(runs) <= most else f"{text} and {len(runs) - most:,} more"
