"""The bundled metrics by hand on small scores, and against second implementations, note by note."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from statistics import fmean
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from attrs import frozen

from midigpt_core.score.bar_fingerprints import bar_fingerprints
from support.generated_music import controls, measured, music, random_music, score

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.records import BoolArray, UInt64Array
    from midigpt_core.score import Score

#: A bar of four quarters.
SCALE = [(0, 0, 1, 60), (0, 1, 1, 62), (0, 2, 1, 64), (0, 3, 1, 65)]


def at(bar: int, notes: Sequence[Any], up: int = 0) -> list[Any]:
    return [(bar, onset, duration, pitch + up) for _, onset, duration, pitch in notes]


def notes_of(one: Score, cells: Sequence[tuple[int, int]], *, drums: bool = True) -> Iterator[tuple[int, int, Any]]:
    """(track, bar, note) of cells."""
    for track, bar in cells:
        if drums or not one.tracks[track].is_drum:
            for note in zip(*(getattr(one.tracks[track].bars[bar].notes, name) for name in FIELDS), strict=True):
                yield track, bar, SimpleNamespace(**dict(zip(FIELDS, map(int, note), strict=True)))


FIELDS = ("onset", "duration", "pitch")


# --- by hand -------------------------------------------------------------------------------------------------------


def test_density_of_a_bar_of_four_and_a_silent_one() -> None:
    true = score([(False, [*SCALE, *at(1, SCALE[:2])])], 2)
    made = score([(False, SCALE)], 2)
    figure = measured("note_density", music([(made, true)], [[(0, 0), (0, 1)]]))[""]
    assert (figure.value, figure.baseline, figure.count) == (2.0, 3.0, 2)


def test_pitch_classes_overlap_by_half_and_their_entropy() -> None:
    true = score([(False, SCALE)], 1)
    made = score([(False, [(0, 0, 1, 72), (0, 1, 1, 74), (0, 2, 1, 73), (0, 3, 1, 73)])], 1)
    other = score([(False, at(0, SCALE, 6))], 1)
    figures = measured("pitch_classes", music([(made, true), (other, other)], [[(0, 0)], [(0, 0)]]))
    # C and D are in both, a quarter of the notes each; the other piece is its own.
    assert figures[""].value == (0.5 + 1.0) / 2
    # C, D, E, F and the six semitones higher F sharp, G sharp, A sharp, B share nothing.
    assert figures[""].baseline == 0.0
    assert figures["entropy"].value == pytest.approx((1.5 + 2.0) / 2)
    assert figures["entropy"].baseline == 2.0


def test_onset_positions_overlap_where_notes_begin_together() -> None:
    true = score([(True, [(0, 0, 0.25, 36), (0, 1, 0.25, 38)])], 1)
    made = score([(True, [(0, 0, 0.25, 36), (0, 1.5, 0.25, 38), (0, 2, 0.25, 36), (0, 3, 0.25, 38)])], 1)
    assert measured("onset_positions", music([(made, true)], [[(0, 0)]]))[""].value == 0.25


def test_polyphony_of_a_chord_over_a_long_note() -> None:
    # Two quarters of three pitches, then two of one; a pitch that is struck again while it sounds counts once.
    notes = [(0, 0, 4, 48), (0, 0, 2, 60), (0, 0, 2, 64), (0, 1, 1, 64)]
    one = score([(False, notes)], 2)
    figure = measured("polyphony", music([(one, one)], [[(0, 0), (0, 1)]]))[""]
    assert (figure.value, figure.baseline, figure.count) == (2.0, 2.0, 48)


def test_in_range_counts_notes_between_the_other_bars_extremes() -> None:
    true = score([(False, [*SCALE, *at(1, SCALE)])], 2)
    made = score([(False, [*SCALE, (1, 0, 1, 59), (1, 1, 1, 60), (1, 2, 1, 65), (1, 3, 1, 66)])], 2)
    figure = measured("in_range", music([(made, true)], [[(0, 1)]]))[""]
    assert (figure.value, figure.baseline, figure.count) == (0.5, 1.0, 4)
    # Without other bars there is no range.
    assert measured("in_range", music([(made, true)], [[(0, 0), (0, 1)]]))[""].value is None


def test_groove_of_bars_that_differ_in_two_places_of_48() -> None:
    true = score([(False, [*SCALE, *at(1, SCALE)])], 2)
    made = score([(False, [*SCALE, *at(1, SCALE[:3]), (1, 3.5, 0.5, 60)])], 2)
    figure = measured("groove", music([(made, true)], [[(0, 1)]]))[""]
    assert (figure.value, figure.baseline) == (1 - 2 / 48, 1.0)


def test_self_similarity_of_a_repeated_bar_and_a_changed_one() -> None:
    true = score([(False, [*SCALE, *at(1, SCALE), *at(2, SCALE)])], 3)
    # Bar 2 keeps two of four notes: two in common with either bar before, of six.
    made = score([(False, [*SCALE, *at(1, SCALE), *at(2, SCALE[:2]), (2, 2, 1, 70), (2, 3, 1, 71)])], 3)
    figures = measured("self_similarity", music([(made, true)], [[(0, 2)]]))
    assert figures[""].value == pytest.approx(1 / 3)
    assert figures[""].baseline == 1.0
    assert figures["error"].value == pytest.approx(2 / 3)


@frozen(eq=False)
class Known:
    fingerprints: UInt64Array

    def looked_up(self, fingerprints: UInt64Array) -> BoolArray:
        return np.ones(len(fingerprints), np.bool_)

    def contains(self, fingerprints: UInt64Array) -> BoolArray:
        return np.isin(fingerprints, self.fingerprints)


def test_copies_are_found_transposed_but_not_on_drums_and_not_in_bars_of_three_notes() -> None:
    training = score([(False, [*SCALE, *at(1, SCALE[:3])]), (True, SCALE)], 2)
    known = Known(bar_fingerprints(training.columns)[1])
    fresh = [(0, 0, 1, 60), (0, 1, 1, 61), (0, 2, 1, 64), (0, 3, 1, 65)]
    made = score([(False, [*at(0, SCALE, 5), *at(1, fresh), *at(2, SCALE[:3])]), (True, [*SCALE, *at(1, SCALE, 1)])], 3)
    cells = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    figures = measured("copy_rate", music([(made, made)], [cells]), known)
    assert {name: (figure.value, figure.count) for name, figure in figures.items()} == {
        "": (0.5, 4),
        "melodic": (0.5, 2),
        "drums": (0.5, 2),
    }
    assert figures[""].baseline == 0.5
    assert measured("copy_rate", music([(made, made)], [cells])) == {}


def test_control_accuracy_with_its_shuffled_rate() -> None:
    encoder: Any = SimpleNamespace(attributes=(SimpleNamespace(name="density"), SimpleNamespace(name="polyphony")))
    # density: of four requests two are hit, three within one; the fourth left no level.
    answers = controls((0, 1, 1), (0, 5, 5), (0, 3, 4), (0, 2, -1), (1, 0, 9))
    figures = measured("control", music([(score([(False, SCALE)], 1),) * 2], [[(0, 0)]], answers), encoder=encoder)
    assert figures["exact"].value == 2 / 5
    assert figures["within_one"].value == 3 / 5
    assert figures["exact/density"].value == 2 / 4
    # Of the twelve pairs of requests for density none is hit exactly: 1, 5 and 4 reached, 1, 5, 3, 2 requested.
    assert figures["exact/density"].baseline == 0.0
    # To within one: 1 reached for 2; 5 for none; 4 for 5.
    assert figures["within_one/density"].baseline == 2 / 12
    assert figures["exact/polyphony"].baseline is None
    assert figures["exact"].low is not None
    assert figures["exact"].low <= 2 / 5 <= (figures["exact"].high or 0)


def test_intervals_are_those_of_a_binomial() -> None:
    encoder: Any = SimpleNamespace(attributes=(SimpleNamespace(name="density"),))
    answers = controls(*[(0, 1, 1)] * 100, *[(0, 1, 4)] * 100)
    figure = measured("control", music([(score([(False, SCALE)], 1),) * 2], [[(0, 0)]], answers), encoder=encoder)
    # 1.96 standard errors of 0.5 in 200 draws are 0.069.
    assert figure["exact"].low == pytest.approx(0.431, abs=0.012)
    assert figure["exact"].high == pytest.approx(0.569, abs=0.012)


# --- second implementations ------------------------------------------------------------------------------------------

SEEDS = range(6)


def ratio(sums: Sequence[float], weights: Sequence[float]) -> float | None:
    return sum(sums) / sum(weights) if sum(weights) else None


def shares(values: Sequence[Any]) -> dict[Any, float]:
    return {value: count / len(values) for value, count in Counter(values).items()}


def step(ticks: int) -> int:
    return ticks * 12 // 480


@pytest.mark.parametrize("seed", SEEDS)
def test_histograms_against_counters(seed: int) -> None:
    of, pairs, cells = random_music(seed)
    for name, kind, drums in (
        ("pitch_classes", lambda note: note.pitch % 12, False),
        ("onset_positions", lambda note: step(note.onset), True),
    ):
        both = [
            [shares([kind(note) for *_, note in notes_of(one, own, drums=drums)]) for one in pair]
            for pair, own in zip(pairs, cells, strict=True)
        ]
        both = [pair for pair in both if all(pair)]
        expected = [sum(min(made[key], true.get(key, 0)) for key in made) for made, true in both]
        figure = measured(name, of)[""]
        assert figure.value == pytest.approx(fmean(expected) if expected else None)
        others = [
            sum(min(made[key], true.get(key, 0)) for key in made)
            for row, (made, _) in enumerate(both)
            for column, (_, true) in enumerate(both)
            if row != column
        ]
        assert figure.baseline == pytest.approx(fmean(others) if others else None)


@pytest.mark.parametrize("seed", SEEDS)
def test_polyphony_against_a_piano_roll(seed: int) -> None:
    """MusPy's ``polyphony``: pitches that sound, over the steps at which any does, of each melodic track."""
    of, pairs, cells = random_music(seed)
    sounding: list[int] = []
    for (made, _), own in zip(pairs, cells, strict=True):
        starts = [round(start * 12) for start in np.cumsum([0.0, *made.columns.bar_length])]
        roll: dict[tuple[int, int], set[int]] = {}
        for track, bar, note in notes_of(made, own, drums=False):
            first = starts[bar] + step(note.onset)
            for time in range(first, first + max(step(note.duration), 1)):
                roll.setdefault((track, time), set()).add(note.pitch)
        sounding += map(len, roll.values())
    figure = measured("polyphony", of)[""]
    # Tracks of one excerpt are counted apart.
    assert figure.value == pytest.approx(fmean(sounding) if sounding else None)
    assert figure.count == len(sounding)


@pytest.mark.parametrize("seed", SEEDS)
def test_range_against_a_loop(seed: int) -> None:
    of, pairs, cells = random_music(seed)
    inside = []
    for (made, true), own in zip(pairs, cells, strict=True):
        for track, _, note in notes_of(made, own, drums=False):
            others = [
                pitch
                for number, one in enumerate(true.tracks[track].bars)
                if (track, number) not in own
                for pitch in one.notes.pitch.tolist()
            ]
            if others:
                inside.append(min(others) <= note.pitch <= max(others))
    assert measured("in_range", of)[""].value == pytest.approx(fmean(inside) if inside else None)


@pytest.mark.parametrize("seed", SEEDS)
def test_bar_pairs_against_sets(seed: int) -> None:
    """MusPy's ``groove_consistency`` on one track, and Museformer's similarity of bars."""
    of, pairs, cells = random_music(seed)
    groove: list[float] = []
    by_distance: dict[int, list[float]] = {}
    for (made, _), own in zip(pairs, cells, strict=True):
        for track, view in enumerate(made.tracks):
            bars = [
                [
                    (step(o), max(step(d), 1), p)
                    for o, d, p in zip(*(getattr(bar.notes, f).tolist() for f in FIELDS), strict=True)
                ]
                for bar in view.bars
            ]
            for bar, (before, after) in enumerate(pairwise(bars)):
                if {(track, bar), (track, bar + 1)} & {*own}:
                    places = round(made.columns.bar_length[bar] * 12)
                    groove.append(1 - len({o for o, *_ in before} ^ {o for o, *_ in after}) / places)
            for distance in range(1, len(bars)):
                for bar in range(distance, len(bars)):
                    one, other = {*bars[bar]}, {*bars[bar - distance]}
                    if {(track, bar), (track, bar - distance)} & {*own} and one | other:
                        by_distance.setdefault(distance, []).append(len(one & other) / len(one | other))
    assert measured("groove", of)[""].value == pytest.approx(fmean(groove))
    figure = measured("self_similarity", of)[""]
    flat = [value for values in by_distance.values() for value in values]
    assert figure.value == pytest.approx(fmean(flat) if flat else None)
    assert figure.count == len(flat)


def test_entropy_against_its_formula() -> None:
    of, pairs, cells = random_music(3)
    expected = []
    for (made, _), own in zip(pairs, cells, strict=True):
        classes = [note.pitch % 12 for *_, note in notes_of(made, own, drums=False)]
        if classes:
            expected.append(-sum(share * math.log2(share) for share in shares(classes).values()))
    assert measured("pitch_classes", of)["entropy"].value == pytest.approx(fmean(expected))
