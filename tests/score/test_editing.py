"""Editing scores: what is asked for changes, everything else stays note for note."""

from __future__ import annotations

import numpy as np
import pytest

from midigpt_core.score import Score
from midigpt_core.score.editing import (
    NoteTable,
    empty_score,
    excerpt,
    note_table,
    num_bars,
    replace_cells,
    with_bars,
    with_signature,
    with_track,
)
from midigpt_core.testing import music

SCORE = music.scores()[0]


def table(rows: list[tuple[int, int, int, int]]) -> NoteTable:
    """Notes (track, bar, onset, pitch)."""
    track, bar, onset, pitch = (np.array(column) for column in zip(*rows, strict=True))
    return NoteTable(
        track=track.astype(np.int64),
        bar=bar.astype(np.int64),
        onset=onset.astype(np.int32),
        duration=np.full(len(rows), 240, np.int32),
        pitch=pitch.astype(np.uint8),
        velocity=np.full(len(rows), 80, np.uint8),
        microtiming=np.zeros(len(rows), np.int32),
    )


def test_replacing_nothing_changes_nothing() -> None:
    cells = np.zeros((3, 8), bool)
    assert replace_cells(SCORE, cells).digest() == SCORE.digest()
    assert replace_cells(SCORE, cells, note_table(SCORE).where(np.zeros(96, bool))).digest() == SCORE.digest()


def test_cells_are_replaced_and_the_rest_stays() -> None:
    cells = np.zeros((3, 8), bool)
    cells[1, 2] = cells[2, 7] = True
    changed = replace_cells(SCORE, cells, table([(2, 7, 0, 35), (1, 2, 480, 50), (1, 2, 0, 51)]))
    assert list(changed.tracks[1].bars[2].notes.rows()) == [(480, 240, 50, 80, 0), (0, 240, 51, 80, 0)]
    assert list(changed.tracks[2].bars[7].notes.rows()) == [(0, 240, 35, 80, 0)]
    before, after = SCORE.to_dict(), changed.to_dict()
    for track in range(3):
        keep = [[n for n in content["tracks"][track]["notes"] if not cells[track, n[0]]] for content in (before, after)]
        assert keep[0] == keep[1]
    assert len(replace_cells(SCORE, cells).tracks[1].bars[2].notes) == 0


def test_tracks_come_to_one_length() -> None:
    content = SCORE.to_dict()
    longer = with_bars(SCORE, 10)
    assert [len(track.bars) for track in longer.tracks] == [10, 10, 10]
    assert (longer.tracks[0].bars[9].numerator, len(longer.tracks[0].bars[9].notes)) == (4, 0)
    assert with_bars(SCORE, 3) is SCORE
    assert num_bars(longer) == 10
    for track, count in zip(content["tracks"], (3, 8, 5), strict=True):
        track["bars"] = [[4, 4, 4.0]] * count
        track["notes"] = [note for note in track["notes"] if note[0] < count]
    own = Score.from_dict({key: value for key, value in content.items() if key != "bars"})
    same = with_bars(own, 0)
    assert same.columns.track_bar_end is None
    assert [len(track.bars) for track in same.tracks] == [8, 8, 8]
    assert len(same.tracks[0].notes) == len(own.tracks[0].notes)


def test_a_track_can_be_added() -> None:
    more = with_track(SCORE, 33)
    assert [track.program for track in more.tracks] == [0, 33, 0, 33]
    assert len(more.tracks[3].notes) == 0
    assert len(more.tracks[3].bars) == 8
    assert with_track(empty_score(4), 0, drum=True).tracks[0].is_drum


def test_an_empty_score_has_what_was_asked_for() -> None:
    score = empty_score(3, [(5, False), (0, True)], (7, 8))
    assert [track.program for track in score.tracks] == [5, 0]
    assert (score.tracks[0].bars[2].numerator, score.tracks[0].bars[2].length) == (7, 3.5)


def test_bars_can_change_their_signature() -> None:
    changed = with_signature(SCORE, [2, 3], (3, 4))
    assert [bar.numerator for bar in changed.tracks[1].bars] == [4, 4, 3, 3, 4, 4, 4, 4]
    assert [bar.length for bar in changed.tracks[0].bars][:4] == [4, 4, 3, 3]
    assert len(changed.tracks[0].notes) == len(SCORE.tracks[0].notes)


@pytest.mark.parametrize(("old", "new"), [(1920, 480), (480, 1920), (12, 480), (480, 480)])
def test_times_keep_their_place_at_another_resolution(old: int, new: int) -> None:
    rng = np.random.default_rng(3)
    notes = table([(0, 0, int(onset), 60) for onset in rng.integers(0, 4 * old, 200)])
    object.__setattr__(notes, "microtiming", rng.integers(0, old, 200).astype(np.int32))
    moved = notes.at_resolution(old, new)
    quarters = [(n.onset + n.microtiming / r) / r for n, r in ((notes, old), (moved, new))]
    assert np.abs(quarters[0] - quarters[1]).max() <= 0.5 / new**2 + 1e-12
    assert ((moved.microtiming >= 0) & (moved.microtiming < new)).all()


def test_an_excerpt_has_its_bars_and_tracks_alone() -> None:
    part = excerpt(SCORE, 2, 3, [2, 0])
    assert [(track.program, track.is_drum, len(track.bars)) for track in part.tracks] == [
        (SCORE.tracks[track].program, SCORE.tracks[track].is_drum, 3) for track in (2, 0)
    ]
    for index, track in enumerate((2, 0)):
        for bar in range(3):
            there = SCORE.tracks[track].bars[2 + bar]
            here = part.tracks[index].bars[bar]
            assert list(here.notes.rows()) == list(there.notes.rows())
            assert (here.numerator, here.denominator, here.length) == (
                there.numerator,
                there.denominator,
                there.length,
            )
    assert (part.tempo, part.resolution) == (SCORE.tempo, SCORE.resolution)
    assert excerpt(SCORE, 0, 8, range(3)).digest() == SCORE.digest()


def test_an_excerpt_of_tracks_with_bars_of_their_own() -> None:
    content = SCORE.to_dict()
    content["tracks"][1]["bars"] = [[3, 4, 3.0]] * 6
    content["tracks"][1]["notes"] = [[bar, 0, 120, 60 + bar, 80, 0] for bar in range(6)]
    mixed = Score.from_dict(content)
    part = excerpt(mixed, 4, 4, [1, 2])
    assert [bar.numerator for bar in part.tracks[0].bars[:2]] == [3, 3]
    assert [bar.numerator for bar in part.tracks[1].bars] == [bar.numerator for bar in mixed.tracks[2].bars[4:8]]
    assert [note[3] for track in part.to_dict()["tracks"][:1] for note in track["notes"]] == [64, 65]
    assert len(part.tracks[1].notes) == sum(len(bar.notes) for bar in mixed.tracks[2].bars[4:8])


def test_an_empty_score_keeps_its_bars_for_a_track_to_come() -> None:
    score = empty_score(5, signature=(3, 4))
    assert num_bars(score) == 5
    written = with_track(score, 33)
    assert [(bar.numerator, bar.denominator) for bar in written.tracks[0].bars] == [(3, 4)] * 5
    assert num_bars(Score.from_dict(score.to_dict())) == 5
