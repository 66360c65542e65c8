"""Joining and picking pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest

from midigpt_core import _native
from midigpt_core.records import ScoreColumns
from midigpt_core.score import Score
from midigpt_core.score.columns import (
    COLUMNS,
    NOTE_FIELDS,
    OFFSETS,
    concatenate,
    empty,
    in_memory_corpus,
    select,
    with_own_bars,
)
from midigpt_core.score.content_hash import content_hashes
from midigpt_core.score.score import Notes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def scores(midi_folder: Path) -> list[Score]:
    return [Score.from_midi(path) for path in sorted(midi_folder.glob("*.mid"))]


def test_the_record_has_the_fields_of_the_native_table(scores: list[Score]) -> None:
    table = _native.score_columns()
    assert sorted(attrs.fields_dict(ScoreColumns)) == sorted(["resolution", *(name for _, _, name, _ in table)])
    optional = [name for _, _, name, may_be_none in table if may_be_none]
    assert (
        optional == [field.name for field in attrs.fields(ScoreColumns) if field.default is None] == ["track_bar_end"]
    )
    columns = with_own_bars(scores[0].columns)
    for _, dtype, name, _ in table:
        assert getattr(columns, name).dtype == dtype
    assert list(OFFSETS) == ["track", "bar", "cell", "note"]
    assert tuple(attrs.fields_dict(Notes)) == NOTE_FIELDS


@pytest.fixture(scope="module")
def ragged() -> Score:
    """Tracks with bars of their own."""
    tracks = [
        {"program": index, "drum": False, "notes": [[index, 0, 9, 60, 80, 0]], "bars": [[4, 4, 4.0]] * (index + 1)}
        for index in range(3)
    ]
    return Score.from_dict({"resolution": 480, "tempo": 1, "tracks": tracks})


def documents(columns: ScoreColumns) -> list[dict[str, object]]:
    return [Score(select(columns, [piece])).to_dict() for piece in range(columns.num_pieces)]


def test_the_tables_name_every_column() -> None:
    fields = [field.name for field in attrs.fields(ScoreColumns)]
    assert {*COLUMNS, *OFFSETS.values(), "resolution", "track_bar_end"} == set(fields)


def test_pieces_survive_joining_and_picking(scores: list[Score]) -> None:
    joined = concatenate([score.columns for score in scores])
    expected = [score.to_dict() for score in scores]
    assert documents(joined) == expected
    order = [*reversed(range(len(scores))), 3, 3]
    assert documents(select(joined, order)) == [expected[index] for index in order]
    assert select(joined, []).num_pieces == 0


def test_shared_and_own_bars_can_be_joined(scores: list[Score], ragged: Score) -> None:
    mixed = concatenate([scores[2].columns, ragged.columns, scores[9].columns])
    assert mixed.track_bar_end is not None
    assert documents(mixed) == [scores[2].to_dict(), ragged.to_dict(), scores[9].to_dict()]
    assert with_own_bars(mixed) is mixed
    assert with_own_bars(empty()).num_pieces == 0


def test_empty_columns(scores: list[Score]) -> None:
    nothing = empty(12)
    assert (nothing.num_pieces, nothing.resolution) == (0, 12)
    for name, spec in COLUMNS.items():
        assert getattr(nothing, name).dtype == spec.dtype == getattr(scores[0].columns, name).dtype
    assert concatenate([]).num_pieces == 0
    assert concatenate([empty(), scores[0].columns]).num_pieces == 1


def test_resolutions_do_not_mix(scores: list[Score]) -> None:
    with pytest.raises(ValueError, match="different resolutions"):
        concatenate([empty(12), scores[0].columns])


def test_in_memory_corpus(scores: list[Score], ragged: Score) -> None:
    corpus = in_memory_corpus([*scores, ragged])
    assert corpus.num_pieces == len(scores) + 1
    assert documents(corpus.shards[0].columns)[-1] == ragged.to_dict()
    assert corpus.shards[0].pieces.row.tolist() == list(range(len(scores) + 1))


def test_content_hashes_know_music_from_music(scores: list[Score]) -> None:
    columns = concatenate([score.columns for score in scores] * 2)
    hashes = content_hashes(columns)
    assert (hashes[: len(scores)] == hashes[len(scores) :]).all()
    assert len({bytes(row) for row in hashes}) == len(scores)
    velocity = scores[3].columns.note_velocity.copy()
    velocity[-1] ^= 1
    changed = attrs.evolve(scores[3].columns, note_velocity=velocity)
    assert not np.array_equal(content_hashes(changed)[0], hashes[3])
