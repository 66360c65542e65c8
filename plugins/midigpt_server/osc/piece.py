"""The piece of a session over OSC: tracks that grow bar by bar, and the score of a window of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from attrs import Factory, define

from midigpt_core.score import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.score.editing import NoteTable


@define
class LiveTrack:
    #: As the client named it.
    id: int
    program: int
    drum: bool
    agent: bool
    ignored: bool = False
    #: Of the agent; None: that of the session.
    temperature: float | None = None
    #: Lowest and highest pitch of the agent.
    pitches: tuple[int, int] = (0, 127)
    #: Bar -> notes as (pitch, velocity, onset, duration), times as fractions of the bar.
    bars: dict[int, list[tuple[int, int, float, float]]] = Factory(dict)


@define
class Piece:
    #: Ticks per quarter note of the scores.
    resolution: int
    tracks: dict[int, LiveTrack] = Factory(dict)
    #: Time signatures of the closed bars; the playhead is their number.
    signatures: list[tuple[int, int]] = Factory(list)

    @property
    def playhead(self) -> int:
        """The bar that sounds now."""
        return len(self.signatures)

    @property
    def agent(self) -> LiveTrack | None:
        return next((track for track in self.tracks.values() if track.agent), None)

    def close_bar(self, number: int, signature: tuple[int, int]) -> bool:
        """Close the bars up to ``number``; bars whose end was lost get its signature. False: it was closed before."""
        missing = number + 1 - self.playhead
        self.signatures += [signature] * max(missing, 0)
        return missing > 0

    def signature(self, bar: int) -> tuple[int, int]:
        if bar < self.playhead:
            return self.signatures[bar]
        return self.signatures[-1] if self.signatures else (4, 4)

    def ticks(self, bar: int) -> int:
        numerator, denominator = self.signature(bar)
        return max(1, round(4 * self.resolution * numerator / denominator))

    def score(self, first: int, end: int, tracks: Sequence[LiveTrack]) -> Score:
        """Bars ``first`` to ``end - 1`` of ``tracks``, each note at least one tick long."""
        bars = []
        for bar in range(first, end):
            numerator, denominator = self.signature(bar)
            bars.append([numerator, denominator, 4 * numerator / denominator])
        rows: list[dict[str, Any]] = []
        for track in tracks:
            notes = []
            for bar in range(first, end):
                ticks = self.ticks(bar)
                for pitch, velocity, onset, duration in sorted(track.bars.get(bar, ()), key=lambda note: note[2]):
                    at = min(math.floor(onset * ticks + 1e-6), ticks - 1)
                    notes.append([bar - first, at, max(1, round(duration * ticks)), pitch, velocity, 0])
            rows.append({"program": track.program, "drum": track.drum, "notes": notes})
        content = {"resolution": self.resolution, "tempo": 500_000, "bars": bars, "tracks": rows}
        return Score.from_dict(content, "the piece")

    def keep(self, track: LiveTrack, first: int, bars: Sequence[int], notes: NoteTable) -> None:
        """Put the ``notes`` of a score that begins with bar ``first`` into ``bars`` of ``track``."""
        for bar in bars:
            track.bars[bar] = []
        columns = (notes.bar, notes.pitch, notes.velocity, notes.onset, notes.duration, notes.microtiming)
        for bar, pitch, velocity, onset, duration, delta in zip(*(c.tolist() for c in columns), strict=True):
            ticks = self.ticks(bar + first)
            place = (onset + delta / self.resolution) / ticks
            track.bars[bar + first].append((pitch, velocity, place, duration / ticks))
