"""The checks of the kit, and that the notes of both notations arrive."""

from pathlib import Path

import pytest

from midigpt_core.contracts import SourceContext
from midigpt_core.errors import DataError
from midigpt_core.score import Score
from midigpt_core.testing import parametrize_with_checks
from midigpt_plugin_notation.source import build

DATA = Path(__file__).parent / "data"


@parametrize_with_checks("notation", paths={"notation": [str(DATA)]})
def test_notation(check):
    check()


def rows(path):
    """Every row's name with its MIDI file, and the counts of dropped rows."""
    (shard,) = build(None, SourceContext(paths=(str(path),))).shards()
    found, dropped = {}, {}
    for batch in shard.batches():
        found |= dict(zip(batch.ids.to_pylist(), batch.midi.to_pylist(), strict=True))
        dropped |= batch.dropped
    return found, dropped


def pitches(midi):
    score = Score.from_bytes(midi)
    return [pitch for track in score.tracks for bar in track.bars for pitch in bar.notes.pitch]


def test_both_notations_give_the_notes_of_the_song():
    found, dropped = rows(DATA)
    assert list(found) == ["moon.musicxml", "rounds.abc, tune 0", "rounds.abc, tune 1"]
    assert dropped == {}
    assert pitches(found["moon.musicxml"]) == pitches(found["rounds.abc, tune 1"])
    assert pitches(found["moon.musicxml"])[:11] == [67, 67, 67, 69, 71, 69, 67, 71, 69, 69, 67]
    assert pitches(found["rounds.abc, tune 0"])[:4] == [60, 62, 64, 60]


def test_an_unreadable_file_is_a_dropped_row(tmp_path):
    (tmp_path / "a.musicxml").write_text("<score-partwise><part>")
    (tmp_path / "b.abc").write_bytes((DATA / "rounds.abc").read_bytes())
    found, dropped = rows(tmp_path)
    assert len(found) == 2
    assert dropped == {"unreadable_notation": 1}
    with pytest.raises(DataError, match="has no scores"):
        rows(tmp_path / "absent")
