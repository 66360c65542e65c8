"""A score that is written into its file again: every event that the change does not touch stays as it was."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midigpt_core.errors import DataError
from midigpt_core.score import Score, editing
from support.generated_midi import generate
from support.kept_events import assert_follows_the_standard, assert_only_cells_differ
from support.midi_bytes import MidiBytes
from support.smf_events import Smf

if TYPE_CHECKING:
    from collections.abc import Callable

MIDI_FOLDER = Path(__file__).parents[1] / "data" / "midi"
FILES = sorted(MIDI_FOLDER.glob("*.mid"))
MIDI = MidiBytes()


def _with_random_bars(score: Score, seed: int) -> tuple[Score, set[tuple[int, int]]]:
    """The score with random notes in some random cells, and these cells."""
    draw = np.random.default_rng(seed)
    tracks, bars = len(score.tracks), editing.num_bars(score)
    cells = np.zeros((tracks, bars), np.bool_)
    for _ in range(int(draw.integers(1, 4))):
        first = int(draw.integers(bars))
        cells[draw.integers(tracks), first : first + int(draw.integers(1, 5))] = True
    taken = np.argwhere(cells)
    lengths = np.array([score.tracks[0].bars[bar].length for bar in range(bars)]) * score.resolution
    count = int(draw.integers(0, 6 * len(taken)))
    where = taken[np.sort(draw.integers(len(taken), size=count))]
    pitches = editing.note_table(score).pitch
    onset = (draw.random(count) * np.maximum(lengths[where[:, 1]] - 1, 1)).astype(np.int32)
    notes = editing.NoteTable(
        track=where[:, 0],
        bar=where[:, 1],
        onset=onset,
        duration=draw.integers(1, 4000, count).astype(np.int32),
        # Pitches that the piece has, so that notes meet others of their pitch.
        pitch=draw.choice(pitches, count) if len(pitches) else draw.integers(0, 128, count).astype(np.uint8),
        velocity=draw.integers(1, 128, count).astype(np.uint8),
        microtiming=draw.integers(-200, 200, count).astype(np.int32),
    )
    return editing.replace_cells(score, cells, notes), {(int(track), int(bar)) for track, bar in taken}


def _check(content: bytes, seed: int) -> None:
    score = Score.from_bytes(content)
    if not len(score.columns.note_pitch):
        return
    edited, cells = _with_random_bars(score, seed)
    written = edited.to_bytes(like=content)
    assert_only_cells_differ(content, written, cells)
    assert_follows_the_standard(written, content)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_real_files_keep_all_but_the_written_bars(path: Path) -> None:
    content = path.read_bytes()
    assert Score.from_bytes(content).to_bytes(like=content) == content
    for seed in range(5):
        _check(content, seed)


@pytest.mark.parametrize("first", range(0, 400, 100))
def test_generated_files_keep_all_but_the_written_bars(first: int) -> None:
    for seed in range(first, first + 100):
        content = generate(seed, MIDI).content
        assert Score.from_bytes(content).to_bytes(like=content) == content
        _check(content, seed)


@pytest.mark.slow
def test_thousands_of_generated_files_keep_all_but_the_written_bars() -> None:
    for seed in range(1000, 11000):
        _check(generate(seed, MIDI).content, seed)


def _spliced(content: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    document = Score.from_bytes(content).to_dict()
    change(document)
    return Score.from_dict(document).to_bytes(like=content)


def _reread(content: bytes, track: int = 0) -> list[list[int]]:
    notes: list[list[int]] = Score.from_bytes(content).to_dict()["tracks"][track]["notes"]
    return notes


def test_notes_come_back_as_they_were_asked_for() -> None:
    """At 480 ticks per quarter nothing is rounded; microtiming is finer than the file."""
    content = MIDI.file([MIDI.note(60), MIDI.note(62, after=1920)])
    notes = [[0, 0, 480, 60, 80, 0], [0, 100, 7, 61, 3, 0], [1, 479, 1000, 62, 127, 0]]
    assert _reread(_spliced(content, lambda score: score["tracks"][0].update(notes=notes))) == notes


@pytest.mark.parametrize("division", [24, 96, 220, 480, 960, 1000, 32767])
def test_notes_are_placed_in_the_ticks_of_the_file(division: int) -> None:
    content = MIDI.file([MIDI.note(60, division), MIDI.note(62, division, after=9 * division)], division=division)
    notes = [[0, onset, 50, pitch, 80, 0] for pitch, onset in enumerate(range(0, 1920, 113), 30)]
    notes.append([0, 1919, 480, 99, 80, 200])
    written = _spliced(content, lambda score: score["tracks"][0].update(notes=[*notes, *score["tracks"][0]["notes"]]))
    found = [note for note in _reread(written) if note[0] == 0 and note[3] != 60]
    assert [note[3] for note in found] == [note[3] for note in notes]
    for asked, read in zip(notes, found, strict=True):
        # Half a tick of the file; the last note must not round onto the next bar line.
        most = 0.5 if asked[1] < 1919 else 1
        assert abs(480 * (asked[1] - read[1]) + asked[5] - read[5]) <= most * 480 * max(480 / division, 1) + 240
        assert abs(asked[2] - read[2]) <= 480 / division + 1


def test_a_written_note_neither_cuts_nor_lengthens_another_of_its_pitch() -> None:
    """One is held into the bar, one follows; both pairings of ends would be possible."""
    content = MIDI.file([MIDI.note(60, 2400), MIDI.note(60, 480, after=480)])
    kept = _reread(content)
    assert kept == [[0, 0, 2400, 60, 80, 0], [1, 960, 480, 60, 80, 0]]
    # Within the held one, at its end, over the next one's start, on both.
    added = [[1, 0, 100, 60, 70, 0], [1, 480, 3000, 60, 70, 0], [1, 600, 500, 60, 70, 0]]
    for notes in [[added[0]], [added[1]], [added[2]], added]:
        written = _spliced(
            content, lambda score, notes=notes: score["tracks"][0].update(notes=[kept[0], *notes, kept[1]])
        )
        read = _reread(written)
        assert [note for note in read if note[4] == 80] == kept
        assert len(read) == len(kept) + len(notes)
        assert all(note[1] + note[2] <= 960 or note[1] >= 960 for note in read if note[4] == 70)


def test_a_written_note_cuts_no_note_that_another_chunk_holds_on_its_channel() -> None:
    """Two hands on one channel: a player ends whatever sounds at that pitch."""
    content = MIDI.file([MIDI.note(72, 480)], [MIDI.note(60, 1200)])
    for onset, duration, end in [(240, 240, 1200), (240, 1500, 1740), (1200, 100, 1300)]:
        written = _spliced(
            content, lambda score, note=[0, onset, duration, 60, 70, 0]: score["tracks"][0]["notes"].append(note)
        )
        assert [note.off for note in Smf(written).notes()] == [480, end, 1200]
    before = MIDI.file([MIDI.note(72, 480)], [MIDI.note(60, 480, after=960)])
    written = _spliced(before, lambda score: score["tracks"][0]["notes"].append([0, 480, 900, 60, 70, 0]))
    assert Smf(written).notes()[1][1:3] == (480, 960)
    # On another port it is another instrument.
    port = b"\0\xff\x21\1\1"
    apart = MIDI.file([MIDI.note(72, 480)], [port, MIDI.note(60, 1200)])
    written = _spliced(apart, lambda score: score["tracks"][0]["notes"].append([0, 240, 240, 60, 70, 0]))
    assert Smf(written).notes()[1].off == 480


def test_notes_that_end_at_once_are_not_confused() -> None:
    """A longer written note that starts earlier ends where the later one starts."""
    content = MIDI.file([MIDI.note(50, 1920)])
    notes = [[0, 0, 1920, 50, 80, 0], [0, 0, 900, 60, 70, 0], [0, 300, 100, 60, 71, 0]]
    written = _spliced(content, lambda score: score["tracks"][0].update(notes=notes))
    assert _reread(written) == [notes[0], [0, 0, 300, 60, 70, 0], notes[2]]


def test_a_note_after_one_that_is_never_closed_is_left_out_and_said(tmp_path: Path) -> None:
    content = MIDI.file([b"\0\x90\x3c\x50", MIDI.note(62, 480), MIDI.note(64, 480)])
    document = Score.from_bytes(content).to_dict()
    document["tracks"][0]["notes"].append([0, 960, 100, 60, 70, 0])
    remarks = Score.from_dict(document).to_midi(tmp_path / "out.mid", like=content)
    assert remarks == ("1 note was left out: an earlier note of the same channel and pitch is never closed.",)
    assert (tmp_path / "out.mid").read_bytes() == content


def test_a_bar_that_is_cut_short_keeps_its_length(tmp_path: Path) -> None:
    """3/4 begins after two quarters of a 4/4 bar; a note asked for beyond has no place."""
    content = MIDI.file([MIDI.signature(4, 2), MIDI.note(60, 480), MIDI.signature(3, 2, after=480), MIDI.note(62, 480)])
    document = Score.from_bytes(content).to_dict()
    assert [bar[2] for bar in document["bars"]] == [4.0, 3.0]
    document["tracks"][0]["notes"][1:1] = [[0, 480, 960, 65, 70, 0], [0, 1200, 100, 66, 70, 0]]
    remarks = Score.from_dict(document).to_midi(tmp_path / "out.mid", like=content)
    assert remarks == ("1 note was left out: the next time signature cuts the bar short before them.",)
    written = (tmp_path / "out.mid").read_bytes()
    assert Smf(written).bar_ticks() == Smf(content).bar_ticks()
    # It ends where it was asked to: at the end of the bar, whose second half the file does not have.
    assert _reread(written)[1] == [0, 480, 1440, 65, 70, 0]


def test_a_track_keeps_its_number_when_it_loses_its_notes() -> None:
    content = MIDI.file([MIDI.note(60)], [MIDI.note(62, channel=1)], [MIDI.note(64, channel=2)])
    written = _spliced(content, lambda score: score["tracks"][1].update(notes=[]))
    assert [len(track.notes) for track in Score.from_bytes(written).tracks] == [1, 0, 1]
    # And gets them back.
    again = _spliced(written, lambda score: score["tracks"][1].update(notes=[[0, 0, 480, 62, 80, 0]]))
    assert [len(track.notes) for track in Score.from_bytes(again).tracks] == [1, 1, 1]


def test_tracks_of_one_chunk_and_channel_keep_their_program() -> None:
    """Program 5, then 7 on channel 0: a note for the first track while the second plays."""
    content = MIDI.file([b"\0\xc0\5", MIDI.note(60, 480), b"\0\xc0\7", MIDI.note(62, 1920)])
    assert [track.program for track in Score.from_bytes(content).tracks] == [5, 7]
    written = _spliced(content, lambda score: score["tracks"][0]["notes"].append([0, 960, 240, 70, 80, 0]))
    read = Score.from_bytes(written)
    assert _reread(written, 0) == [[0, 0, 480, 60, 80, 0], [0, 960, 240, 70, 80, 0]]
    assert _reread(written, 1) == _reread(content, 1)
    assert [track.program for track in read.tracks] == [5, 7]


def test_new_tracks_are_new_chunks_on_free_channels(tmp_path: Path) -> None:
    content = MIDI.file([MIDI.note(60)], [MIDI.note(62, channel=1)])
    score = editing.with_track(editing.with_track(editing.with_track(Score.from_bytes(content), 33), 0, drum=True), 48)
    document = score.to_dict()
    document["tracks"][2]["notes"] = [[0, 0, 480, 40, 80, 0]]
    document["tracks"][3]["notes"] = [[0, 480, 480, 36, 80, 0]]
    assert Score.from_dict(document).to_midi(tmp_path / "out.mid", like=content) == ()
    written = (tmp_path / "out.mid").read_bytes()
    assert written[14 : len(content)] == content[14:]
    tracks = Score.from_bytes(written).tracks
    assert [(track.program, track.is_drum, len(track.notes)) for track in tracks[2:]] == [
        (33, False, 1),
        (0, True, 1),
        (48, False, 0),
    ]
    assert [channel for _, channel, _ in Smf(written).tracks()] == [0, 1, 2, 9, 3]


def test_a_file_without_a_free_channel_gets_a_port(tmp_path: Path) -> None:
    content = MIDI.file([MIDI.note(60, channel=channel) for channel in range(16)])
    score = editing.with_track(Score.from_bytes(content), 33)
    (remark,) = score.to_midi(tmp_path / "out.mid", like=content)
    assert remark.startswith("all channels are taken: new track 16 is on a MIDI port of its own")
    (port,) = [event for event in Smf((tmp_path / "out.mid").read_bytes()).chunks[-1] if event.is_meta(0x21)]
    assert port.data[1:] == b"\1"


def test_a_file_of_format_0_becomes_one_of_format_1_for_a_new_track(tmp_path: Path) -> None:
    content = MIDI.header(1, 480, midi_format=0) + MIDI.chunk(MIDI.note(60) + MIDI.end)
    score = Score.from_bytes(content)
    assert Smf(_spliced(content, lambda score: score["tracks"][0].update(notes=[]))).format == 0
    (remark,) = editing.with_track(score, 33).to_midi(tmp_path / "out.mid", like=content)
    assert remark.startswith("a file of format 0 has one track")
    written = (tmp_path / "out.mid").read_bytes()
    assert (Smf(written).format, Smf(written).announced) == (1, 2)


def test_bars_go_on_behind_the_last_one() -> None:
    content = MIDI.file([MIDI.signature(3, 2), MIDI.note(60, 480)])
    score = editing.with_bars(Score.from_bytes(content), 4)
    document = score.to_dict()
    document["tracks"][0]["notes"].append([3, 480, 480, 62, 80, 0])
    written = Score.from_dict(document).to_bytes(like=content)
    assert Smf(written).notes()[1][1:4] == (3 * 1440 + 480, 3 * 1440 + 960, 62)
    # In another signature, which the file then says.
    document["bars"][2:] = [[4, 4, 4.0], [4, 4, 4.0]]
    other = Score.from_dict(document).to_bytes(like=content)
    assert Smf(other).notes()[1].on == 2 * 1440 + 1920 + 480
    assert Score.from_bytes(other).to_dict()["bars"] == document["bars"]


@pytest.mark.parametrize(("bar", "after"), [([2, 2, 4.0], 0), ([3, 4, 3.0], -480), ([5, 4, 5.0], 480)])
def test_a_bar_in_another_signature_moves_what_follows(bar: list[Any], after: int) -> None:
    tempo = b"\xff\x51\x03\x07\xa1\x20"
    notes = [MIDI.note(60 + index, 480, after=1440) for index in range(4)]
    content = MIDI.file([MIDI.signature(4, 2), *notes, b"\0" + tempo], [MIDI.note(40, 7680, channel=1)])
    document = Score.from_bytes(content).to_dict()
    for track in document["tracks"]:
        track["notes"] = [note for note in track["notes"] if note[0] != 1]
    document["bars"][1] = bar
    written = Score.from_dict(document).to_bytes(like=content)
    assert Score.from_bytes(written).to_dict()["bars"][:4] == document["bars"][:4]
    old, new = Smf(content).notes(), Smf(written).notes()
    assert new[0][1:4] == old[0][1:4]
    assert [note.on for note in new[1:3]] == [note.on + after for note in old[2:4]]
    assert [event.tick for event in Smf(written).chunks[0] if event.is_meta(0x51)] == [7680 + after]


def test_another_tempo_replaces_the_first_one() -> None:
    content = MIDI.file([b"\0\xff\x51\x03\x07\xa1\x20", MIDI.note(60), b"\0\xff\x51\x03\x08\0\0"])
    written = _spliced(content, lambda score: score.update(tempo=400_000))
    tempos = [event for event in Smf(written).chunks[0] if event.is_meta(0x51)]
    assert [(event.tick, int.from_bytes(event.data[1:], "big")) for event in tempos] == [(0, 400_000), (480, 0x80000)]
    assert Score.from_bytes(_spliced(MIDI.file([MIDI.note(60)]), lambda score: score.update(tempo=9))).tempo == 9


def test_another_file_is_refused(midi_folder: Path) -> None:
    score = Score.from_midi(midi_folder / "mutopia_bach_invention_08.mid")
    with pytest.raises(DataError, match=r"7 tracks .*file that the score was read from"):
        score.to_midi("unused.mid", like=midi_folder / "oga_the_ritual.mid")
    with pytest.raises(DataError, match="at 96 ticks per quarter"):
        Score(attrs.evolve(score.columns, resolution=96)).to_bytes(like=score.to_bytes())
    document = score.to_dict()
    document["bars"] = document["bars"][:10]
    for track in document["tracks"]:
        track["notes"] = [note for note in track["notes"] if note[0] < 10]
    with pytest.raises(DataError, match=r"the score has 10 bars, .* 34"):
        Score.from_dict(document).to_midi("unused.mid", like=midi_folder / "mutopia_bach_invention_08.mid")


def test_a_meta_event_ends_running_status() -> None:
    """Scores with a time signature in mid-track, and the bytes that they must become."""
    with gzip.open(MIDI_FOLDER.parent / "smf_bytes.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) == 16
    for row in rows:
        content = Score.from_dict(row["score"]).to_bytes()
        assert content == base64.b64decode(row["smf_base64"])
        assert_follows_the_standard(content)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_written_files_follow_the_standard(data: st.DataObject) -> None:
    signatures = data.draw(st.lists(st.sampled_from([(4, 4), (3, 4), (6, 8)]), min_size=1, max_size=6))
    bars = [[n, d, 4 * n / d] for n, d in signatures]
    note = st.tuples(st.integers(0, len(bars) - 1), st.integers(0, 1000), st.integers(1, 3000), st.integers(0, 127))
    notes = [[*row, 80, 0] for row in sorted(data.draw(st.lists(note, max_size=20)))]
    document = {"resolution": 480, "tempo": 500000, "bars": bars}
    tracks = [{"program": 0, "drum": False, "notes": notes}] * 2
    assert_follows_the_standard(Score.from_dict({**document, "tracks": tracks}).to_bytes())


def test_more_than_fifteen_melodic_tracks_share_no_channel() -> None:
    tracks = [{"program": 1, "drum": index == 9, "notes": [[0, 0, 480, 60, 80, 0]]} for index in range(33)]
    document = {"resolution": 480, "tempo": 500000, "bars": [[4, 4, 4.0]], "tracks": tracks}
    smf = Smf(Score.from_dict(document).to_bytes())
    ports = [next((event.data[1] for event in events if event.is_meta(0x21)), 0) for events in smf.chunks]
    channels = [events[0].status & 15 if ports[index] == 0 else 0 for index, events in enumerate(smf.chunks)]
    places = [
        (port, channel)
        for index, (port, (_, channel, _)) in enumerate(zip(ports, smf.tracks(), strict=True))
        if index != 9
    ]
    assert len(set(places)) == 32
    assert channels[9] == 9
