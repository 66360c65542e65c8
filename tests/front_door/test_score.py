"""``midigpt.Score`` and its parts: conversion, editing, files."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import midigpt
import pytest
from midigpt import Bar, Note, Score, Track

from midigpt_core.errors import DataError
from midigpt_core.score import Score as Columns
from support.kept_events import assert_only_cells_differ

FILES = sorted((Path(__file__).parents[1] / "data" / "midi").glob("*.mid"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_conversion_is_exact_in_both_directions(path: Path) -> None:
    columns = Columns.from_midi(path)
    score = Score.from_midi(path)
    assert Score.from_columns(columns) == score
    assert score.to_columns().to_dict() == columns.to_dict()


def test_masked_bars_attributes_and_bars_of_single_tracks_are_kept() -> None:
    content = {
        "resolution": 12, "tempo": 400_000, "bars": [[4, 4, 4.0], [3, 4, 3.0]],
        "tracks": [
            {"program": 3, "drum": False, "notes": [[1, 2, 30, 60, 90, -1], [1, 0, 3, 50, 80, 2]],
             "attributes": {"min_polyphony": 2}, "masked": [0]},
            {"program": 0, "drum": True, "notes": [], "bars": [[4, 4, 4.0], [6, 8, 2.5]]},
        ],
    }  # fmt: skip
    score = Score.from_columns(Columns.from_dict(content))
    assert score.tracks[0].bars[0].future
    assert score.tracks[0].bars[1].notes == [Note(60, 90, 2, 30, -1), Note(50, 80, 0, 3, 2)]
    assert score.tracks[1].bars[1].beat_length == 2.5
    assert score.to_columns().to_dict() == Columns.from_dict(content).to_dict()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_unedited_file_is_written_as_it_was(path: Path, tmp_path: Path) -> None:
    score = Score.from_midi(path)
    assert score.to_midi(tmp_path / "out.mid") == ()
    assert (tmp_path / "out.mid").read_bytes() == path.read_bytes()


def test_an_edited_file_keeps_the_other_events(tmp_path: Path) -> None:
    path = next(path for path in FILES if "kv525" in path.stem)
    score = Score.from_midi(path)
    removed = score.tracks[0].bars[1].notes.pop(0)
    score.tracks[0].bars[1].notes.append(Note(pitch=61, velocity=77, onset_ticks=10, duration_ticks=100))
    kept = copy.deepcopy(score)
    for number, written in enumerate((score, kept)):
        assert written.to_midi(tmp_path / f"{number}.mid") == ()
        assert (
            Score.from_midi(tmp_path / f"{number}.mid").to_columns().to_dict()["tracks"][1:]
            == (Score.from_midi(path).to_columns().to_dict()["tracks"][1:])
        )
        again = Score.from_midi(tmp_path / f"{number}.mid").tracks[0].bars[1].notes
        assert Note(61, 77, 10, 100) in again
        assert removed not in again

    before, after = path.read_bytes(), (tmp_path / "0.mid").read_bytes()
    assert_only_cells_differ(before, after, {(0, 1)})


def test_a_score_that_its_file_cannot_take_is_written_alone_and_says_so(tmp_path: Path) -> None:
    path = next(path for path in FILES if "kv525" in path.stem)
    score = Score.from_midi(path)
    del score.tracks[0]
    (remark,) = score.to_midi(tmp_path / "out.mid")
    assert "the other events of the file were left out" in remark
    assert len(Score.from_midi(tmp_path / "out.mid").tracks) == len(score.tracks)


def test_json_is_that_of_the_public_package() -> None:
    bar = Bar(notes=[Note(60, 80, 0, 480)])
    plain = {
        "resolution": 480, "tempo": 500_000, "tracks": [{"instrument": 0, "track_type": "melodic", "bars": [
            {"ts_numerator": 4, "ts_denominator": 4, "future": False, "notes": [
                {"pitch": 60, "velocity": 80, "onset_ticks": 0, "duration_ticks": 480, "delta": 0}]}]}],
    }  # fmt: skip
    score = Score(tracks=[Track(bars=[bar])])
    assert score.to_dict() == plain
    assert Score.from_dict(plain) == score
    assert repr(score).startswith("Score(tracks=[Track(bars=[Bar(notes=[Note(pitch=60, velocity=80,")
    loose = {"more": 1, "tracks": [{"x": 1, "bars": [{"y": 2, "ts_numerator": 3.0, "notes": [
        {"pitch": 60.0, "velocity": 80, "onset_ticks": 0, "duration_ticks": 480}]}]}]}  # fmt: skip
    read = Score.from_dict(loose)
    assert read.tracks[0].bars[0] == Bar([Note(60, 80, 0, 480)], 3, 4)
    assert read.tracks[0].bars[0].beat_length == 3.0


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({}, "score.tracks is missing"),
        ([], "score: expected an object"),
        ({"tracks": 5}, "score.tracks: expected a list"),
        ({"tracks": [{}]}, r"score.tracks\[0\].bars is missing"),
        ({"tracks": [{"bars": [{"notes": [{"pitch": 1}]}]}]}, r"notes\[0\].velocity is missing"),
        ({"tracks": [{"bars": [{"notes": [{"pitch": 1, "x": 1}]}]}]}, "no field 'x'"),
        ({"tracks": [{"bars": [{"ts_denominator": 0}]}]}, "ts_denominator is 0"),
        ({"tracks": [{"bars": [{"ts_numerator": "4"}]}]}, "ts_numerator: expected a whole number"),
        ({"tracks": [], "tempo": float("nan")}, "score.tempo: expected a whole number"),
    ],
)
def test_faulty_json_names_the_field(content: object, named: str) -> None:
    with pytest.raises(DataError, match=named):
        Score.from_dict(content)  # type: ignore[arg-type]


def test_columns_of_a_faulty_score_name_the_field() -> None:
    with pytest.raises(DataError, match="pitch"):
        Score([Track([Bar([Note(200, 80, 0, 1)])])]).to_columns()


def test_resampling_keeps_the_place_of_each_note() -> None:
    path = next(path for path in FILES if "kv525" in path.stem)
    score = Score.from_midi(path)
    coarse = score.resample(12)
    assert (score.resolution, coarse.resolution) == (480, 12)
    for before, after in zip(score.tracks, coarse.tracks, strict=True):
        for old, new in zip(before.bars, after.bars, strict=True):
            assert [note.pitch for note in new.notes] == [note.pitch for note in old.notes]
            assert all(
                abs(one.onset_ticks + one.delta / 480 - 40 * (other.onset_ticks + other.delta / 12)) <= 20 / 12 + 1e-9
                for one, other in zip(old.notes, new.notes, strict=True)
            )
    assert score.resample(480) == score
    with pytest.raises(ValueError, match="target_tpq is 0"):
        score.resample(0)


def test_the_front_door_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'numpy', 'lightning', 'transformers', 'pyarrow'}"
    code = f"import sys, midigpt; print(midigpt.__version__, {heavy} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == [midigpt.__version__, "set()"]
