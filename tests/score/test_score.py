"""Scores, their views, and their JSON form."""

from __future__ import annotations

import copy
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midigpt_core.errors import DataError
from midigpt_core.score import Note, Score
from midigpt_core.score.columns import concatenate

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT: dict[str, Any] = {
    "resolution": 480,
    "tempo": 500000,
    "bars": [[4, 4, 4.0], [3, 4, 3.0], [3, 4, 3.0]],
    "tracks": [
        {
            "program": 30,
            "drum": False,
            "notes": [[0, 0, 480, 64, 90, 0], [0, 0, 480, 60, 80, -3], [2, 240, 1, 127, 1, 0]],
            "attributes": {"density": 3, "polyphony": 2},
            "masked": [1, 2],
        },
        {"program": 0, "drum": True, "notes": []},
        {"program": 1, "drum": False, "notes": [[1, 7, 9, 0, 0, 2]], "bars": [[4, 4, 4.0], [6, 8, 3.0]]},
    ],
}


@pytest.fixture
def score() -> Score:
    return Score.from_dict(DOCUMENT)


def test_views(score: Score) -> None:
    melodic, drums, last = score.tracks
    assert (score.resolution, score.tempo, len(score.tracks)) == (480, 500000, 3)
    assert (melodic.program, melodic.is_drum, drums.is_drum) == (30, False, True)
    assert (melodic.attributes, melodic.masked) == ({"density": 3, "polyphony": 2}, (1, 2))
    assert (drums.attributes, drums.masked) == ({}, ())
    assert [len(track.bars) for track in score.tracks] == [3, 3, 2]
    assert [(bar.numerator, bar.denominator, bar.length) for bar in last.bars] == [(4, 4, 4.0), (6, 8, 3.0)]
    assert [bar.is_masked for bar in melodic.bars] == [False, True, True]
    assert [[len(bar.notes) for bar in track.bars] for track in score.tracks] == [[2, 0, 1], [0, 0, 0], [0, 1]]
    assert list(melodic.bars[0].notes.rows()) == [(0, 480, 64, 90, 0), (0, 480, 60, 80, -3)]
    assert [len(track.notes) for track in score.tracks] == [3, 0, 1]
    assert last.notes.pitch.tolist() == [0]
    assert repr(score) == "<Score: 3 tracks, 8 bars, 4 notes at 480 ticks per quarter>"


def test_views_copy_nothing(score: Score) -> None:
    assert np.shares_memory(score.tracks[0].bars[2].notes.pitch, score.columns.note_pitch)
    assert np.shares_memory(score.tracks[0].notes[1:].pitch, score.columns.note_pitch)


def test_tracks_and_bars_are_sequences(score: Score) -> None:
    bars = score.tracks[0].bars
    assert [bar.index for bar in bars] == [bar.index for bar in bars[:]] == [0, 1, 2]
    assert [bar.index for bar in bars[1:]] == [1, 2]
    assert [bar.index for bar in reversed(bars)] == [2, 1, 0]
    assert (bars[-1].index, bars[np.int64(1)].index, score.tracks[-1].index) == (2, 1, 2)
    with pytest.raises(IndexError):
        bars[3]
    with pytest.raises(IndexError):
        score.tracks[-4]
    assert repr(score.tracks[1:2]) == f"[{score.tracks[1]!r}]"
    assert repr(score.tracks).count("Track(") == 3


def test_notes_can_be_gone_through_one_by_one(score: Score) -> None:
    notes = score.tracks[0].notes
    assert [(note.onset, note.duration, note.pitch, note.velocity, note.microtiming) for note in notes] == [
        (0, 480, 64, 90, 0),
        (0, 480, 60, 80, -3),
        (240, 1, 127, 1, 0),
    ]
    assert notes[-1] == Note(onset=240, duration=1, pitch=127, velocity=1, microtiming=0)
    assert list(notes) == list(notes.rows()) == [notes[0], notes[1], notes[2]]
    assert all(type(value) is int for row in (*notes, notes[0], *notes.rows()) for value in row)
    assert [note.pitch for note in notes[:2]] == [64, 60]
    assert next(reversed(notes)) == notes[2]
    assert list(score.tracks[1].notes) == []
    with pytest.raises(IndexError, match="note 3 of 3"):
        notes[3]


def test_a_bar_costs_the_same_in_a_long_piece_as_in_a_short_one() -> None:
    """Bars are made when they are asked for: as a list they made a loop over indices quadratic (seconds here)."""
    rows = [[bar, 0, 480, 60, 90, 0] for bar in range(20_000)]
    score = Score.from_dict(
        DOCUMENT | {"bars": [[4, 4, 4.0]] * 20_000, "tracks": [{"program": 0, "drum": False, "notes": rows}]}
    )

    def made(count: int) -> int:
        tracemalloc.start()
        for index in range(count):
            assert len(score.tracks[0].bars[index].notes) == 1
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    made(1)
    assert made(200) < 500_000  # a list of all is over 1 MB


def test_a_score_is_one_piece(score: Score) -> None:
    with pytest.raises(ValueError, match=r"one piece, these columns hold 2; use columns\.select"):
        Score(concatenate([score.columns, score.columns]))
    with pytest.raises(ValueError, match="masked has 1 entries for 3 tracks"):
        Score(score.columns, masked=((1,),))


def test_document_round_trip(score: Score) -> None:
    assert score.to_dict() == DOCUMENT
    assert score.digest() == Score.from_dict(copy.deepcopy(DOCUMENT)).digest()


def test_equal_bars_of_all_tracks_are_shared() -> None:
    tracks = [track | {"bars": DOCUMENT["bars"]} for track in DOCUMENT["tracks"]]
    score = Score.from_dict({"resolution": 480, "tempo": 500000, "tracks": tracks})
    assert score.columns.track_bar_end is None
    assert score.to_dict()["bars"] == DOCUMENT["bars"]


def test_golden_documents_of_random_scores(golden_rows: Any) -> None:
    """Own bars for every track, masks, notes out of time order, microtimings beyond 16 bits."""
    documents = [
        case[kind]
        for row in golden_rows("synthetic")
        for case in row.get("cases", ())
        for kind in ("score", "decoded", "damaged_decoded")
        if "tracks" in case.get(kind, ())
    ]
    assert len(documents) > 1500
    for document in documents:
        written = Score.from_dict(document).to_dict()
        for before, after in zip(document["tracks"], written["tracks"], strict=True):
            assert before["notes"] == after["notes"]
            assert before["bars"] == after.get("bars", written["bars"])
            assert before["masked"] == after.get("masked", [])
            assert before.get("attributes", {}) == after.get("attributes", {})
            assert (before["program"], before["drum"]) == (after["program"], after["drum"])


def test_notes_are_brought_into_bar_order() -> None:
    track = {"program": 0, "drum": False, "notes": [[2, 5, 1, 1, 1, 0], [0, 9, 1, 2, 2, 0], [2, 4, 1, 3, 3, 0]]}
    score = Score.from_dict(DOCUMENT | {"tracks": [track]})
    assert [row[:2] for row in score.to_dict()["tracks"][0]["notes"]] == [[0, 9], [2, 5], [2, 4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tempo": None}, "interpreted as an integer"),
        ({"tempo": 2**40}, "tempo has a value that does not fit int32"),
        ({"bars": [[4, 4]]}, "bars must be rows of 3 numbers"),
        ({"tracks": [{"drum": False, "notes": []}]}, "'program' is missing"),
        (
            {"tracks": [{"program": 128, "drum": False, "notes": []}]},
            r"tracks\[0\]\.program is 128, not within",
        ),
        ({"tracks": [{"program": 0, "drum": 0, "notes": [[0, 0, 1, 60, 200, 0]]}]}, r"velocity outside 0\.\.127"),
        ({"tracks": [{"program": 0, "drum": 0, "notes": [[0, 0, 1, -1, 20, 0]]}]}, r"pitch outside 0\.\.127"),
        ({"tracks": [{"program": 0, "drum": 0, "notes": [[3, 0, 1, 60, 20, 0]]}]}, r"bar outside 0\.\.2"),
        ({"tracks": [{"program": 0, "drum": 0, "notes": [[0, 0.5, 1, 60, 20, 0]]}]}, "whole numbers"),
        ({"tracks": [{"program": 0, "drum": 0, "notes": [[0, 0]]}]}, r"tracks\[0\]\.notes must be rows of 6"),
        ({"tracks": [{"program": 0, "drum": 0, "notes": [[0, 0, 2**33, 60, 20, 0]]}]}, "note_duration has a value"),
        ({"tracks": [{"program": 0, "drum": 0, "notes": [], "attributes": {"x": 0.5}}]}, "as an integer"),
        ({"tracks": [{"program": 0, "drum": 0, "notes": [], "masked": ["1"]}]}, "as an integer"),
        ({"tracks": "none"}, "string indices"),
    ],
)
def test_bad_documents_are_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"^song\.json: not a score object.*{message}.*\. Write one"):
        Score.from_dict(DOCUMENT | change, name="song.json")


def test_score_of_a_file_without_tracks(midi_folder: Path) -> None:
    score = Score.from_midi(midi_folder / "empty.mid")
    assert score.to_dict() == {"resolution": 480, "tempo": 500000, "bars": [], "tracks": []}
