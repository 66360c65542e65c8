"""Scores to MIDI files and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midigpt_core import _native
from midigpt_core.errors import DataError
from midigpt_core.score import Score

if TYPE_CHECKING:
    from pathlib import Path

SIGNATURES = [(4, 4), (3, 4), (6, 8), (7, 16), (2, 2), (1, 128), (13, 32)]


@st.composite
def written_scores(draw: st.DrawFn) -> dict[str, Any]:
    """Scores that a MIDI file can say in full: up to 15 tracks, none empty, no two notes of one pitch at once."""
    bars = [[n, d, 4 * n / d] for n, d in draw(st.lists(st.sampled_from(SIGNATURES), min_size=1, max_size=6))]
    tracks = []
    for _ in range(draw(st.integers(1, 5))):
        notes = []
        for pitch in draw(st.sets(st.integers(0, 127), min_size=1, max_size=6)):
            bar = draw(st.integers(0, len(bars) - 1))
            onset = draw(st.integers(0, int(480 * bars[bar][2]) - 1))
            notes.append([bar, onset, draw(st.integers(1, 5000)), pitch, draw(st.integers(1, 127)), 0])
        notes.sort(key=lambda note: note[:2])
        tracks.append({"program": draw(st.integers(0, 127)), "drum": draw(st.booleans()), "notes": notes})
    return {"resolution": 480, "tempo": draw(st.integers(0, 2**24 - 1)), "bars": bars, "tracks": tracks}


@given(written_scores())
@settings(deadline=None)
def test_what_is_written_is_read(document: dict[str, Any]) -> None:
    score = Score.from_bytes(Score.from_dict(document).to_bytes())
    read = score.to_dict()
    assert read["tempo"] == document["tempo"]
    assert [(t["program"], t["drum"]) for t in read["tracks"]] == [
        (t["program"], t["drum"]) for t in document["tracks"]
    ]
    assert [track["notes"] for track in read["tracks"]] == [track["notes"] for track in document["tracks"]]
    # Bars after the last note are not in a file, and a note that rings on adds some.
    common = min(len(read["bars"]), len(document["bars"]))
    assert read["bars"][:common] == document["bars"][:common]
    assert Score.from_bytes(score.to_bytes()).to_dict() == read


def test_real_files_come_back(midi_folder: Path, tmp_path: Path) -> None:
    score = Score.from_midi(midi_folder / "oga_the_ritual.mid")
    score.to_midi(tmp_path / "again.mid")
    again = Score.from_midi(tmp_path / "again.mid")
    assert again.to_bytes() == score.to_bytes()
    assert again.to_dict()["bars"] == score.to_dict()["bars"]


def test_channels_and_order_of_events() -> None:
    note = [0, 0, 240, 60, 80, 0]
    tracks = [{"program": 5, "drum": index == 3, "notes": [note, [0, 240, 240, 60, 70, 0]]} for index in range(17)]
    content = Score.from_dict({"resolution": 480, "tempo": 500000, "bars": [[3, 4, 3.0]], "tracks": tracks}).to_bytes()
    assert content.startswith(bytes.fromhex("4d546864 00000006 0001 0011 01e0 4d54726b"))
    chunks = content.split(b"MTrk")[1:]
    # Time signature, tempo, program; the end of a note stands before the next start; notes off keep their velocity.
    assert chunks[0][4:].hex(" ") == (
        "00 ff 58 04 03 02 18 08 00 ff 51 03 07 a1 20 00 c0 05 00 90 3c 50 81 70 80 3c 50 00 90 3c 46 "
        "81 70 80 3c 46 01 ff 2f 00"
    )
    assert [chunk[5] & 0x0F for chunk in chunks[1:15]] == [1, 2, 9, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15]
    # Then on a second port.
    assert [chunk[4:11].hex(" ") for chunk in chunks[15:]] == ["00 ff 21 01 01 00 c0", "00 ff 21 01 01 00 c1"]


def test_without_tracks_the_tempo_is_written() -> None:
    content = Score.from_dict({"resolution": 96, "tempo": 400000, "bars": [], "tracks": []}).to_bytes()
    assert content[12:].hex(" ") == "00 60 4d 54 72 6b 00 00 00 0b 00 ff 51 03 06 1a 80 01 ff 2f 00"
    assert Score.from_bytes(content).tempo == 400000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": 0}, r"resolution is not within 1\.\.32767"),
        ({"resolution": 40000}, r"resolution is not within 1\.\.32767"),
        ({"tempo": 2**24}, r"tempo is not within 0\.\.16777215"),
        ({"bars": [[4, 3, 4.0]]}, "denominator that is no power of two"),
        ({"bars": [[256, 4, 4.0]]}, "numerator above 255"),
        ({"bars": [[4, 4, 1e7]]}, r"bar_length must be within 0\.\.1000000"),
        ({"bars": [[4, 4, -1.0]]}, r"bar_length must be within"),
    ],
)
def test_what_midi_cannot_say(change: dict[str, Any], message: str) -> None:
    document = {
        "resolution": 480,
        "tempo": 1,
        "bars": [[4, 4, 4.0]],
        "tracks": [{"program": 0, "drum": 0, "notes": []}],
    }
    with pytest.raises(DataError, match=rf"cannot be written as MIDI: .*{message}.*\. Change that"):
        Score.from_dict(document | change).to_bytes()


def test_events_too_far_apart() -> None:
    track = {"program": 0, "drum": 0, "notes": [[0, 0, 2**28, 60, 80, 0]]}
    score = Score.from_dict({"resolution": 480, "tempo": 1, "bars": [[4, 4, 4.0]], "tracks": [track]})
    with pytest.raises(DataError, match="more than 268435455 ticks apart"):
        score.to_bytes()


@pytest.mark.parametrize(
    ("field", "values", "message"),
    [
        ("cell_bar", [5], "cell_bar must name a bar"),
        ("cell_bar", [-1], "cell_bar must name a bar"),
        ("cell_note_end", [7], "cell_note_end must end with"),
        ("track_cell_end", [-1], "track_cell_end must ascend"),
        ("track_bar_end", [2], "track_bar_end must end with"),
        ("note_pitch", [200], "within 0..127"),
        ("note_onset", [-1], "must not be negative"),
        ("note_onset", [0, 0], "note_onset has another shape"),
        ("note_offsets", [1, 2], "must start at 0"),
        ("track_program", [128], "track_program must be"),
    ],
)
def test_broken_columns_are_refused_before_they_are_followed(field: str, values: list[int], message: str) -> None:
    track = {"program": 0, "drum": 0, "notes": [[0, 0, 9, 60, 80, 0]]}
    columns = Score.from_dict({"resolution": 480, "tempo": 1, "bars": [[4, 4, 4.0]], "tracks": [track]}).columns
    dtype = np.int32 if field == "track_bar_end" else getattr(columns, field).dtype
    with pytest.raises(ValueError, match=message):
        _native.write_midi(attrs.evolve(columns, **{field: np.array(values, dtype)}))


@pytest.mark.parametrize("level", ["track", "bar", "cell", "note"])
@pytest.mark.parametrize("end", [-1, -(2**32), -(2**63)])
def test_a_negative_end_of_a_level_is_refused(level: str, end: int) -> None:
    """Also where the level has no rows, as a length of zero would have it."""
    columns = Score.from_dict({"resolution": 480, "tempo": 1, "bars": [], "tracks": []}).columns
    _native.write_midi(columns)
    field = f"{level}_offsets"
    broken = attrs.evolve(columns, **{field: np.array([0, end], getattr(columns, field).dtype)})
    with pytest.raises(ValueError, match=f"{field} must start at 0"):
        _native.write_midi(broken)


def test_columns_of_another_type_are_refused(midi_folder: Path) -> None:
    columns = Score.from_midi(midi_folder / "piano_bell.mid").columns
    with pytest.raises(TypeError, match="note_onset must be a NumPy array of int32"):
        _native.write_midi(attrs.evolve(columns, note_onset=columns.note_onset.astype(np.int64)))
