"""Fingerprints of bars are equal for equal music, transposed or not, and for nothing else."""

from __future__ import annotations

import random

import attrs
import numpy as np
import pytest

from midigpt_core.score.bar_fingerprints import bar_fingerprints
from midigpt_core.score.columns import concatenate, select
from midigpt_core.score.note_rows import cell_rows, note_rows
from support.generated_music import random_music, score

BAR = [(0, 0, 1, 60), (0, 1, 1, 62), (0, 2.5, 1, 64), (0, 3, 1, 65)]


def fingerprint(notes: list[tuple[int, float, float, int]], *, drum: bool = False, beats: int = 4) -> int:
    (found,) = bar_fingerprints(score([(drum, notes)], 1, beats).columns)[1].tolist()
    return int(found)


def changed(index: int, **values: float) -> list[tuple[int, float, float, int]]:
    notes = [dict(zip(("bar", "onset", "duration", "pitch"), note, strict=True)) for note in BAR]
    notes[index] |= values
    return [tuple(note.values()) for note in notes]  # type: ignore[misc]


def test_what_counts_and_what_does_not() -> None:
    original = fingerprint(BAR)
    assert fingerprint([(bar, onset, duration, pitch - 12) for bar, onset, duration, pitch in BAR]) == original
    assert fingerprint(changed(1, duration=0.25)) == original
    assert fingerprint(changed(1, onset=1.01)) == original, "within a step of the grid"
    assert fingerprint(BAR, drum=True) != original
    assert fingerprint(changed(1, onset=1.25)) != original
    assert fingerprint(changed(1, pitch=63)) != original
    assert fingerprint(BAR[:3]) != original
    drums = fingerprint(BAR, drum=True)
    assert fingerprint([(bar, onset, duration, pitch + 1) for bar, onset, duration, pitch in BAR], drum=True) != drums


def test_the_order_of_notes_does_not_count() -> None:
    columns = score([(False, [(0, 0, 1, 60), (0, 0, 1, 64), (0, 0, 1, 67), (0, 2, 1, 72)])], 1).columns
    order = np.array([2, 0, 3, 1])
    shuffled = attrs.evolve(
        columns, **{name: getattr(columns, name)[order] for name in ("note_onset", "note_pitch", "note_duration")}
    )
    assert bar_fingerprints(shuffled)[1] == bar_fingerprints(columns)[1]


def test_a_run_of_pieces_is_a_part_of_the_whole() -> None:
    columns = random_music(1, excerpts=9)[0].true
    cells, whole = bar_fingerprints(columns)
    for first, end in ((0, 4), (4, 5), (5, 9), (3, 3)):
        part, found = bar_fingerprints(columns, first, end)
        inside = (cells.piece >= first) & (cells.piece < end)
        assert np.array_equal(found, whole[inside])
        for name in attrs.fields_dict(type(cells)):
            assert np.array_equal(getattr(part, name), getattr(cells, name)[inside])


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_those_of_the_views(seed: int) -> None:
    _, pairs, _ = random_music(seed)
    scores = [made for made, _ in pairs]
    columns = select(concatenate([one.columns for one in scores]), random.Random(seed).sample(range(5), 5))
    order = random.Random(seed).sample(range(5), 5)
    expected = [
        (piece, track, bar, view.is_drum, onset, pitch)
        for piece, number in enumerate(order)
        for track, view in enumerate(scores[number].tracks)
        for bar, notes in enumerate(one.notes for one in view.bars)
        for onset, pitch in zip(notes.onset.tolist(), notes.pitch.tolist(), strict=True)
    ]
    rows = note_rows(columns)
    found = [getattr(rows, name).tolist() for name in ("piece", "track", "bar", "drum", "onset", "pitch")]
    assert list(zip(*found, strict=True)) == expected
    assert int(cell_rows(columns).notes.sum()) == len(expected)
