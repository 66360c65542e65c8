"""Scores as pictures: one lane per track, with existing and generated notes in two colours.

Drawn with Pillow: it suffices for rectangles, lines and a few words, and is a single wheel that installs everywhere. A
plotting library would add seven packages and a second of import time.
"""

from __future__ import annotations

import io
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from PIL import Image, ImageDraw, ImageFont

from midigpt_core import files
from midigpt_core.score.note_times import note_times
from midigpt_core.score.programs import PROGRAM_NAMES
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    import os
    from collections.abc import Collection

    from midigpt_core.records import Float64Array, Int64Array
    from midigpt_core.score.score import Score, Track

OLD, NEW, WRITTEN = (72, 101, 129), (224, 96, 16), (255, 240, 222)
_PAPER, _LANE, _INK = (255, 255, 255), (246, 247, 249), (40, 44, 52)
_BAR_LINE, _BEAT_LINE, _OCTAVE_LINE = (150, 156, 166), (228, 231, 235), (218, 222, 228)

_LEFT, _TOP, _RIGHT, _GAP = 132, 44, 14, 8
_WIDTH = 1400
#: Pixels of a quarter note, at least (the picture then grows wider) and at most.
_QUARTER = (7.0, 40.0)
#: Semitones of a lane at least, pixels of a semitone at most, pixels of a lane at most.
_LEAST_SEMITONES, _SEMITONE, _LANE_HEIGHT = 12, 7, 190
#: A longer piece is drawn around what was written, with so many bars of context on either side.
_MOST_BARS, _CONTEXT_BARS = 48, 8
#: Most tracks that are drawn: tracks that were written come first, then the first of the others.
_MOST_LANES = 64
#: Letters of a label that fit left of a lane.
_LABEL = 20


@frozen(eq=False, kw_only=True)
class _Lane:
    """A track as it is drawn: times in quarter notes from its first bar, arrays of equal length per note."""

    label: tuple[str, str]
    bar_starts: Float64Array
    numerators: Int64Array
    start: Float64Array
    end: Float64Array
    pitch: Int64Array
    new: Collection[bool]
    written: Collection[int]

    def of_bars(self, first: int, end: int) -> tuple[float, float]:
        """Where bars ``first`` to ``end`` (exclusive) begin and end."""
        last = len(self.bar_starts) - 1
        return float(self.bar_starts[min(first, last)]), float(self.bar_starts[min(end, last)])


def piano_roll(
    score: Score,
    written: Collection[tuple[int, int]] = (),
    *,
    bars: tuple[int, int] | None = None,
    title: str = "",
) -> Image.Image:
    """A picture of ``score`` in which the notes that start in a cell of ``written``, as (track, bar), stand out.

    ``bars``: the first and the last bar to draw; None: all of them, or those around ``written`` in a long piece. If
    there are more than 64 tracks, those with a cell of ``written`` are drawn, then the first of the others.
    """
    tracks = score.tracks
    written_bars: dict[int, set[int]] = {}
    for index, bar in written:
        written_bars.setdefault(index, set()).add(bar)
    drawn = sorted(sorted(range(len(tracks)), key=lambda index: index not in written_bars)[:_MOST_LANES])
    lanes = [_lane(tracks[index], written_bars.get(index, set())) for index in drawn]
    count = max((len(lane.bar_starts) - 1 for lane in lanes), default=0)
    first, last = bars if bars is not None else _worth_drawing(count, [bar for _, bar in written])
    first, end = max(0, first), min(last + 1, count)
    spans = [lane.of_bars(first, end) for lane in lanes]
    quarters = max((until - begin for begin, until in spans), default=1.0) or 1.0
    unit = min(max((_WIDTH - _LEFT - _RIGHT) / quarters, _QUARTER[0]), _QUARTER[1])
    visible = [(lane.end > begin) & (lane.start < until) for lane, (begin, until) in zip(lanes, spans, strict=True)]
    ranges = [_semitones(lane.pitch[seen]) for lane, seen in zip(lanes, visible, strict=True)]
    heights = [_height(low, high) for low, high in ranges]
    image = Image.new(
        "RGB", (_LEFT + round(quarters * unit) + _RIGHT, _TOP + sum(heights) + _GAP * len(heights) + _GAP), _PAPER
    )
    draw = ImageDraw.Draw(image)
    _heading(draw, title, (first, end, count), (len(lanes), len(tracks)))
    top = _TOP
    for lane, (begin, until), seen, (low, high), height in zip(lanes, spans, visible, ranges, heights, strict=True):
        area = _Area(top=top, height=height, begin=begin, until=until, unit=unit, low=low, high=high)
        area.draw_grid(draw, lane, first, end, numbered=top == _TOP)
        area.draw_notes(draw, lane, seen)
        draw.text((8, top), lane.label[0], _INK, _font(13))
        draw.text((8, top + 17), lane.label[1], _INK, _font(12))
        top += height + _GAP
    return image


def png_bytes(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def save_piano_roll(
    path: str | os.PathLike[str], score: Score, written: Collection[tuple[int, int]] = (), *, title: str = ""
) -> None:
    """Write :func:`piano_roll` to ``path`` as a PNG, atomically."""
    files.write_bytes(path, png_bytes(piano_roll(score, written, title=title)))


@frozen(kw_only=True)
class _Area:
    """The part of a picture that one lane takes, and how music maps to it."""

    top: int
    height: int
    #: Quarter notes at the left and right edge, and pixels of one.
    begin: float
    until: float
    unit: float
    #: Pitches of the lowest and of the highest row.
    low: int
    high: int

    def x(self, quarters: float) -> int:
        return _LEFT + round((min(max(quarters, self.begin), self.until) - self.begin) * self.unit)

    def y(self, pitch: float) -> int:
        """The upper edge of a pitch's row."""
        return self.top + round((self.high - pitch) * self.height / (self.high - self.low + 1))

    def draw_grid(self, draw: ImageDraw.ImageDraw, lane: _Lane, first: int, end: int, *, numbered: bool) -> None:
        bottom = self.top + self.height
        draw.rectangle((_LEFT, self.top, self.x(self.until), bottom), _LANE)
        for bar in sorted(lane.written):
            left, right = lane.of_bars(bar, bar + 1)
            if right > self.begin and left < self.until:
                draw.rectangle((self.x(left), self.top, self.x(right), bottom), WRITTEN)
        for pitch in range(-(-self.low // 12) * 12, self.high + 1, 12):
            draw.line((_LEFT, self.y(pitch - 1), self.x(self.until), self.y(pitch - 1)), _OCTAVE_LINE)
            draw.text((_LEFT - 5, self.y(pitch - 0.5)), f"C{pitch // 12 - 1}", _BAR_LINE, _font(10), anchor="rm")
        every = max(1, round(34 / max((self.until - self.begin) / max(end - first, 1) * self.unit, 1)))
        for bar in range(first, min(end, len(lane.bar_starts) - 1)):
            left, right = lane.of_bars(bar, bar + 1)
            beats = max(int(lane.numerators[bar]), 1)
            for beat in range(1, beats):
                x = self.x(left + (right - left) * beat / beats)
                draw.line((x, self.top, x, bottom), _BEAT_LINE)
            draw.line((self.x(left), self.top, self.x(left), bottom), _BAR_LINE)
            if numbered and bar % every == 0:
                draw.text((self.x(left) + 2, self.top - 15), str(bar), _BAR_LINE, _font(11))
        draw.line((self.x(self.until), self.top, self.x(self.until), bottom), _BAR_LINE)

    def draw_notes(self, draw: ImageDraw.ImageDraw, lane: _Lane, seen: Collection[bool]) -> None:
        shown = np.flatnonzero(np.asarray(seen))
        is_new = np.asarray(lane.new)[shown].tolist()
        columns = (lane.start[shown].tolist(), lane.end[shown].tolist(), lane.pitch[shown].tolist(), is_new)
        for start, end, pitch, new in zip(*columns, strict=True):
            left, upper = self.x(start), self.y(pitch)
            # A pixel stays free to the right of a note, and at least two are drawn.
            right, lower = max(self.x(end) - 2, left + 1), max(self.y(pitch - 1) - 1, upper + 1)
            draw.rectangle((left, upper, right, lower), NEW if new else OLD)


def _lane(track: Track, written: Collection[int]) -> _Lane:
    times = note_times(track)
    return _Lane(
        label=(f"{track.index}: drums", "") if track.is_drum else _label(track),
        bar_starts=times.bar_starts,
        numerators=track.score.columns.bar_numerator[track.bar_run].astype(np.int64),
        start=times.start,
        end=times.start + times.duration,
        pitch=track.notes.pitch.astype(np.int64),
        new=np.isin(times.bar, list(written)),
        written=written,
    )


def _label(track: Track) -> tuple[str, str]:
    """Two lines: the track's number and instrument."""
    first, *more = textwrap.wrap(f"{track.index}: {PROGRAM_NAMES[track.program]}", _LABEL)
    return first, " ".join(more)


def _worth_drawing(count: int, written: Collection[int]) -> tuple[int, int]:
    if count <= _MOST_BARS or not written:
        return 0, min(count, _MOST_BARS) - 1
    first = max(0, min(min(written) - _CONTEXT_BARS, count - 2 * _CONTEXT_BARS))
    return first, min(max(written) + _CONTEXT_BARS, first + _MOST_BARS - 1)


def _semitones(pitches: Int64Array) -> tuple[int, int]:
    """The lowest and highest pitch of a lane, with a margin of a semitone and at least an octave."""
    low, high = (int(pitches.min()) - 1, int(pitches.max()) + 1) if len(pitches) else (60, 60)
    missing = max(_LEAST_SEMITONES - (high - low + 1), 0)
    return low - missing // 2, high + (missing + 1) // 2


def _height(low: int, high: int) -> int:
    return min((high - low + 1) * _SEMITONE, _LANE_HEIGHT)


def _heading(draw: ImageDraw.ImageDraw, title: str, bars: tuple[int, int, int], tracks: tuple[int, int]) -> None:
    first, end, count = bars
    shown = "" if (first, end) == (0, count) else f"bars {first} to {end - 1} of {count}"
    drawn = "" if tracks[0] == tracks[1] else f"{tracks[0]} of {tracks[1]:,} tracks"
    left = 8
    # The name of a file may have line feeds and bytes that are no text.
    for text in (printable(title, None), shown, drawn):
        if text:
            draw.text((left, 7), text, _INK, _font(13))
            left += round(draw.textlength(text, _font(13))) + 18
    for colour, text in ((OLD, "as it was"), (NEW, "written")):
        draw.rectangle((left, 9, left + 12, 19), colour)
        draw.text((left + 17, 7), text, _INK, _font(12))
        left += round(draw.textlength(text, _font(12))) + 35


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
