"""The reader against symusic, another reader of MIDI files: the same notes at the same times, in the same tracks.

symusic gives notes in the file's ticks, ours stand in bars at 480 ticks per quarter. Bars are counted here once more,
in the file's ticks, and each of our notes is put back onto the file's time line. What may differ is what
docs/reading-midi.md says: notes within half a tick of the next bar line are dropped, notes of no length get one tick,
and a bar cut short by a time signature keeps its nominal length, so that notes across it are stretched.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import symusic

from midigpt_core.records import CORPUS_RESOLUTION
from midigpt_core.score import Score
from support.generated_midi import FEATURES, RESOLUTIONS, generate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from support.midi_bytes import MidiBytes

FILES = 400
REASONS = ("dropped on the bar line", "one tick instead of none", "stretched across a bar cut short")
#: Doubles round a tie either way.
_EPSILON = Fraction(1, 1000)


class Line(NamedTuple):
    """One bar on the file's time line, in the file's ticks."""

    start: int
    nominal: int
    #: Less than ``nominal`` if the next time signature cuts the bar short.
    actual: int


def bars_of(theirs: Any) -> list[Line]:
    """The bars that a file's time signatures draw, up to its last note or signature."""
    ends = [
        int(end) for track in theirs.tracks for end in track.notes.numpy()["time"] + track.notes.numpy()["duration"]
    ]
    signatures = {0: (4, 4)} | {s.time: (s.numerator, s.denominator) for s in theirs.time_signatures}
    last = max([*ends, *signatures])
    starts = sorted(signatures)
    bars: list[Line] = []
    for start, following in pairwise([*starts, None]):
        numerator, denominator = signatures[start]
        length = 4 * theirs.tpq * numerator // denominator
        end = max(last, start + 1) if following is None else following
        for bar in range(start, end, length) if length else ():
            bars.append(Line(bar, length, length if following is None else min(length, following - bar)))
    return bars


def differences(ours: Score, theirs: Any) -> tuple[list[str], Counter[str]]:
    """What cannot be explained, and how many notes agreed exactly or differ for a reason."""
    bars, counts = bars_of(theirs), Counter[str]()
    problems = [] if len(bars) == len(ours.columns.bar_length) or not ours.tracks else ["another number of bars"]
    layout = [[(track.program, track.is_drum) for track in score.tracks] for score in (ours, theirs)]
    if problems or layout[0] != layout[1]:
        return [*problems, f"tracks {layout[0]} instead of {layout[1]}"], counts
    for number, (track, their_track) in enumerate(zip(ours.tracks, theirs.tracks, strict=True)):
        mine = [(bar.index, *note) for bar in track.bars for note in bar.notes.rows()]
        expected = list(_kept(their_track.notes, bars, Fraction(CORPUS_RESOLUTION, theirs.tpq), counts))
        if len(mine) != len(expected):
            problems.append(f"track {number}: {len(mine)} notes instead of {len(expected)}")
            continue
        for note, (their_note, bar) in zip(mine, expected, strict=True):
            reason = _reason(note, their_note, bar, bars, theirs.tpq)
            counts[reason or "unexplained"] += 1
            if not reason:
                problems.append(f"track {number}: {note} for {their_note} in bar {bar}")
    return problems, counts


def _bar_at(tick: int, bars: Sequence[Line]) -> int:
    low, high = 0, len(bars)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if bars[middle].start <= tick else (low, middle)
    return low


def _kept(notes: Any, bars: Sequence[Line], scale: Fraction, counts: Counter[str]) -> Iterator[tuple[Any, int]]:
    """symusic's notes with their bars, bar by bar, without those that round onto the end of theirs."""
    placed = [(note, _bar_at(note.time, bars)) for note in notes]
    for note, bar in sorted(placed, key=lambda pair: pair[1]):
        # Onset and bar length are both rounded.
        onset = (note.time - bars[bar].start) * scale
        if round_half_up(onset) >= round_half_up(bars[bar].nominal * scale):
            counts["dropped on the bar line"] += 1
        else:
            yield note, bar


def round_half_up(value: Fraction) -> int:
    return (2 * value.numerator + value.denominator) // (2 * value.denominator)


def _reason(note: tuple[int, ...], theirs: Any, bar: int, bars: Sequence[Line], tpq: int) -> str:
    """Why ``note`` (bar, onset, duration, pitch, velocity, microtiming) is symusic's note; empty if it is not."""
    scale = Fraction(CORPUS_RESOLUTION, tpq)
    exact = CORPUS_RESOLUTION % tpq == 0
    onset = (theirs.time - bars[bar].start) * scale
    last = _bar_at(theirs.time + theirs.duration, bars)
    missing = sum(line.nominal - line.actual for line in bars[bar:last]) * scale
    if (note[0], *note[3:5]) != (bar, theirs.pitch, theirs.velocity):
        return ""
    if abs(note[1] - onset) > Fraction(1, 2) + _EPSILON or (exact and note[1] != onset):
        return ""
    if abs(note[1] + Fraction(note[5], CORPUS_RESOLUTION) - onset) > Fraction(1, 2 * CORPUS_RESOLUTION) + _EPSILON:
        return ""
    expected = theirs.duration * scale + missing
    # Two bar starts, the onset and the end are rounded, by half a tick each at most.
    if note[2] < 1 or abs(note[2] - max(1, expected)) > (0 if exact else 2):
        return ""
    if missing:
        return "stretched across a bar cut short"
    if not theirs.duration:
        return "one tick instead of none"
    return "exact" if exact else "rounded"


@pytest.mark.parametrize("seeds", [range(FILES), pytest.param(range(FILES, 50 * FILES), marks=pytest.mark.slow)])
def test_generated_files(seeds: range, midi: MidiBytes) -> None:
    counts, resolutions, features = Counter[str](), set(), Counter[str]()
    for seed in seeds:
        generated = generate(seed, midi)
        theirs = symusic.Score.from_midi(generated.content)
        problems, found = differences(Score.from_bytes(generated.content), theirs)
        assert problems == [], f"seed {seed}"
        counts += found
        features.update(generated.features)
        resolutions.add(theirs.tpq)
    assert resolutions == set(RESOLUTIONS)
    assert set(features) == FEATURES
    assert min(features.values()) > 0.05 * len(seeds)
    assert counts["exact"] > 10 * len(seeds)
    assert counts["rounded"] > 10 * len(seeds)
    assert min(counts[reason] for reason in REASONS) > len(seeds) / 100


def test_real_files(midi_folder: Path) -> None:
    files = sorted(midi_folder.glob("*.mid"))
    assert len(files) == 18
    counts = Counter[str]()
    for file in files:
        problems, found = differences(Score.from_midi(file), symusic.Score(file))
        assert problems == [], file.name
        counts += found
    assert sum(counts.values()) > 10_000


@pytest.mark.parametrize("field", ["onset", "duration", "pitch", "velocity", "program"])
def test_a_difference_is_found(field: str, midi_folder: Path) -> None:
    file = midi_folder / "mutopia_bach_invention_08.mid"
    content = Score.from_midi(file).to_dict()
    track = content["tracks"][1]
    if field == "program":
        track["program"] += 1
    else:
        track["notes"][40][1 + ["onset", "duration", "pitch", "velocity"].index(field)] -= 3
    problems, _ = differences(Score.from_dict(content), symusic.Score(file))
    assert len(problems) == 1
