"""Other instruments for tracks of a MIDI file: program changes are replaced, every other byte stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from midigpt_core.errors import DataError
from midigpt_core.score import Score
from midigpt_core.score.splicing import SpliceError, splice
from support.midi_bytes import MidiBytes
from support.smf_events import Smf
from support.songs import song

FILES = sorted((Path(__file__).parents[1] / "data" / "midi").glob("*.mid"))
MIDI = MidiBytes()


def with_programs(content: bytes, **programs: int) -> Any:
    """The file with other programs for tracks (``t0=40``) of the score that it is read as."""
    columns = Score.from_bytes(content).columns
    wanted = columns.track_program.copy()
    for name, program in programs.items():
        wanted[int(name[1:])] = program
    return splice(attrs.evolve(columns, track_program=wanted), content, "song.mid", new_instruments=True)


def programs_of(content: bytes) -> Any:
    return Score.from_bytes(content).columns.track_program.tolist()


def test_only_the_program_changes() -> None:
    original = song()
    made = with_programs(original, t0=73, t1=38)
    assert made.remarks == ()
    assert programs_of(made.content) == [73, 38, 0]
    assert len(made.content) == len(original)
    differ = [at for at, (one, other) in enumerate(zip(original, made.content, strict=True)) if one != other]
    assert [(original[at], made.content[at]) for at in differ] == [(0, 73), (33, 38)]


def test_chunks_of_other_programs_are_no_tracks() -> None:
    original, foreign = song(), b"XFIH" + (3).to_bytes(4, "big") + b"abc"
    first = original.index(b"MTrk")
    second = original.index(b"MTrk", first + 1)
    for at in (first, second):
        content = original[:at] + foreign + original[at:]
        made = with_programs(content, t1=38)
        assert made.remarks == ()
        assert programs_of(made.content) == [0, 38, 0]
        assert foreign in made.content


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_melodic_track_of_a_file(path: Path) -> None:
    original = path.read_bytes()
    columns = Score.from_bytes(original).columns
    drums = columns.track_drum.astype(bool)
    # So that no two tracks of a channel become one, and that their order stays.
    wanted = np.where(drums, columns.track_program, 127 - np.arange(len(drums))[::-1]).astype(np.uint8)
    made = splice(attrs.evolve(columns, track_program=wanted), original, path.name, new_instruments=True)
    after = Score.from_bytes(made.content)
    assert after.columns.track_program.tolist() == wanted.tolist()
    assert [len(track.notes) for track in after.tracks] == [
        len(track.notes) for track in Score.from_bytes(original).tracks
    ]

    def others(content: bytes) -> list[Any]:
        return [[event.message for event in events if not event.is_program] for events in Smf(content).chunks]

    assert others(made.content) == others(original)


def test_a_track_without_a_program_change_gets_one() -> None:
    original = MIDI.file(MIDI.note(60) + MIDI.note(62), MIDI.note(40, channel=1))
    made = with_programs(original, t0=40)
    assert programs_of(made.content) == [40, 0]
    assert made.content.count(bytes([0, 0xC0, 40, 0, 0x90, 60])) == 1
    assert made.content.endswith(original[-20:])


def test_only_the_track_of_that_program_on_a_channel_changes() -> None:
    """A channel that changes its program is two tracks; running status, a system message and a port are between."""
    events = [
        b"\x00\xff\x21\x01\x00", b"\x00\xc0\x05", MIDI.note(60), b"\x00\xf0\x03\x7e\x7f\xf7", b"\x00\xc0\x07",
        MIDI.note(64), b"\x00\x90\x43\x50\x60\x43\x00", b"\x00\xc0\x05", MIDI.note(67),
    ]  # fmt: skip
    original = MIDI.file(events)
    assert programs_of(original) == [5, 7]
    assert programs_of(with_programs(original, t0=6).content) == [6, 7]
    # Tracks are in the order of their programs.
    assert programs_of(with_programs(original, t0=9).content) == [7, 9]
    with pytest.raises(SpliceError, match="two of its tracks would have one instrument on one channel"):
        with_programs(original, t0=7)


def test_tracks_that_share_a_channel_are_named() -> None:
    """The hands of a piano on one channel: a synthesizer has one instrument for both."""
    original = MIDI.file(b"\x00\xc0\x00" + MIDI.note(60), b"\x00\xc0\x00" + MIDI.note(40))
    made = with_programs(original, t1=33)
    assert programs_of(made.content) == [0, 33]
    assert made.remarks == (
        "tracks 0 and 1 share a MIDI channel: players give all of them the instrument that was set last.",
    )
    assert with_programs(original, t0=33, t1=33).remarks == ()


def test_a_changed_program_is_another_file_unless_it_is_asked_for() -> None:
    columns = Score.from_bytes(song()).columns
    other = attrs.evolve(columns, track_program=np.array([5, 33, 0], np.uint8))
    with pytest.raises(DataError, match=r"the score's first 3 tracks are not those of song\.mid"):
        splice(other, song(), "song.mid")
    with pytest.raises(DataError, match=r"the score's first 3 tracks are not those of song\.mid"):
        with_programs(song(), t2=8)


def test_notes_and_instruments_change_together() -> None:
    original = song()
    content = Score.from_bytes(original).to_dict()
    content["tracks"][0]["program"] = 40
    content["tracks"][0]["notes"] = [note for note in content["tracks"][0]["notes"] if note[0] != 2]
    empty = [{**content["tracks"][1], "program": 56, "notes": content["tracks"][1]["notes"]}]
    content["tracks"] += empty
    columns = Score.from_dict(content).columns
    made = splice(columns, original, "song.mid", new_instruments=True)
    after = Score.from_bytes(made.content)
    assert [track.program for track in after.tracks] == [40, 33, 0, 56]
    assert [len(track.notes) for track in after.tracks] == [28, 16, 32, 16]


def test_a_track_that_lost_its_notes_keeps_its_new_instrument() -> None:
    original = song()
    content = Score.from_bytes(original).to_dict()
    content["tracks"][1] |= {"program": 40, "notes": []}
    made = splice(Score.from_dict(content).columns, original, "song.mid", new_instruments=True)
    assert programs_of(made.content) == [0, 40, 0]
