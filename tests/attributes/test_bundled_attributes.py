"""The bundled attribute controls: the kit's checks, and values from the papers that define them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from midigpt_attributes.chroma import chroma_entropy, entropy
from midigpt_attributes.syncopation import syncopation, wnbd

from midigpt_core.score.window_notes import WindowNotes, levels
from midigpt_core.testing import parametrize_with_checks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

GRID = 12
SIXTEENTH = GRID // 4


@parametrize_with_checks("attributes")
def test_the_kit(check: Callable[[], None]) -> None:
    check()


def notes_of(
    bars: Sequence[Sequence[tuple[int, int]]], signature: tuple[int, int] = (4, 4), tracks: int = 1
) -> WindowNotes:
    """A window of ``tracks`` equal tracks; each bar is a list of (onset in ticks, pitch)."""
    whole = [note for _ in range(tracks) for bar in bars for note in bar]
    counts = [len(bar) for _ in range(tracks) for bar in bars]
    shape = 1, tracks, len(bars)
    return WindowNotes(
        resolution=GRID,
        shape=shape,
        offsets=np.cumsum([0, *counts]),
        onset=np.array([onset for onset, _ in whole], np.int32),
        duration=np.ones(len(whole), np.int32),
        pitch=np.array([pitch for _, pitch in whole], np.uint8),
        velocity=np.full(len(whole), 80, np.uint8),
        num_bars=np.full(shape[:2], len(bars), np.int32),
        program=np.zeros(shape[:2], np.uint8),
        drum=np.zeros(shape[:2], np.bool_),
        numerator=np.full(shape, signature[0], np.int32),
        denominator=np.full(shape, signature[1], np.int32),
    )


def sixteenths(*onsets: int) -> list[tuple[int, int]]:
    return [(onset * SIXTEENTH, 60) for onset in onsets]


#: The six rhythms of sixteen pulses that the paper measures with a beat every four pulses, and its values.
CLAVES = {
    "shiko": ((0, 4, 6, 10, 12), 1.2),
    "son": ((0, 3, 6, 10, 12), 2.8),
    "soukous": ((0, 3, 6, 10, 11), 3.6),
    "rumba": ((0, 3, 7, 10, 12), 3.6),
    "bossa-nova": ((0, 3, 6, 10, 13), 4.0),
    "gahu": ((0, 3, 6, 10, 14), 3.6),
}


@pytest.mark.parametrize(("onsets", "value"), CLAVES.values(), ids=CLAVES)
def test_syncopation_has_the_values_of_the_paper(onsets: tuple[int, ...], value: float) -> None:
    assert wnbd(notes_of([sixteenths(*onsets)])).item() == pytest.approx(value)


def test_chords_count_once_and_bars_alone() -> None:
    """A note of a bar ends with the next onset of its track, also if that is in the next bar."""
    son, straight = sixteenths(0, 3, 6, 10, 12), sixteenths(0, 4, 8, 12)
    chords = [(onset, pitch) for onset, _ in son for pitch in (60, 64, 67)]
    found = wnbd(notes_of([chords, straight, []], tracks=2))
    assert found[:, :, :2].tolist() == [[[pytest.approx(2.8), 0.0]] * 2]
    assert np.isnan(found[:, :, 2]).all()
    # From the last eighth to the second beat of the next bar: across one beat.
    late, early = wnbd(notes_of([sixteenths(14), sixteenths(2)]))[0, 0]
    assert late == pytest.approx(2 / 0.5)
    assert early == pytest.approx(1 / 0.5)


def test_beats_are_those_of_the_signature() -> None:
    """6/8 has beats of three eighths, 3/4 of a quarter."""
    eighths = [(n * GRID // 2, 60) for n in (0, 3)]
    assert wnbd(notes_of([eighths], (6, 8))).item() == 0
    assert wnbd(notes_of([eighths], (3, 4))).item() == pytest.approx((0 + 1 / 0.5) / 2)


def test_levels_ascend_with_the_rhythm() -> None:
    rhythms = [sixteenths(0, 4, 8, 12), sixteenths(*CLAVES["son"][0]), sixteenths(*CLAVES["bossa-nova"][0]), []]
    assert [int(syncopation(notes_of([rhythm])).item()) for rhythm in rhythms] == [0, 5, 7, -1]


def test_entropy_is_that_of_the_histogram() -> None:
    chromatic = [(n, 60 + n) for n in range(12)]
    octaves = [(0, 60), (12, 72)]
    half = [(0, 60), (12, 61), (24, 72), (36, 73)]
    values = [entropy(notes_of([bar])).item() for bar in (chromatic, octaves, half)]
    assert values == pytest.approx([np.log2(12), 0.0, 1.0])
    assert np.isnan(entropy(notes_of([[]]))).all()
    assert [chroma_entropy(notes_of([bar])).item() for bar in (chromatic, octaves, half, [])] == [7, 0, 2, -1]


def test_sums_and_histograms_are_over_bars_and_tracks() -> None:
    notes = notes_of([[(0, 60), (6, 62)], [], [(3, 64)]], tracks=2)
    assert notes.per_bar().tolist() == [[[2, 0, 1]] * 2]
    assert notes.per_bar(notes.pitch).tolist() == [[[122.0, 0.0, 64.0]] * 2]
    assert notes.per_track(notes.pitch > 60).tolist() == [[2.0, 2.0]]
    assert notes.track_histogram(notes.pitch % 12, 12)[0, 1].tolist() == [1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    assert notes.bar_histogram(notes.pitch % 12, 12, weights=notes.onset)[0, 0, :, 2].tolist() == [6, 0, 0]
    assert notes.start.tolist() == [0, 6, 99, 0, 6, 99]
    assert levels([0.0, 1.0, 1.5, 9.0, np.nan], (1.0, 2.0)).tolist() == [0, 1, 1, 2, -1]
    assert all(a <= b for a, b in pairwise(levels(np.linspace(0, 3, 50), (1.0, 2.0)).tolist()))
