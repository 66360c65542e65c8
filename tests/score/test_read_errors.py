"""Every reason for refusing a file, with the byte it points at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midigpt_core.errors import DataError
from midigpt_core.score import Score
from midigpt_core.score.reading import READ_ERRORS, read_batch

if TYPE_CHECKING:
    from collections.abc import Callable

Case = tuple[bytes, int]
FIRST_EVENT = 22  # after the header (14) and the chunk's header (8)


def file_too_large(midi: Any) -> Case:
    return midi.file(b"") + bytes(16 << 20), 0


def no_header(midi: Any) -> Case:
    return b"RIFF" + midi.file(b""), 0


def header_length(midi: Any) -> Case:
    return midi.header(length=8) + midi.chunk(midi.end), 4


def midi_format(midi: Any) -> Case:
    return midi.header(midi_format=3) + midi.chunk(midi.end), 8


def smpte_division(midi: Any) -> Case:
    return midi.header(division=0xE728) + midi.chunk(midi.end), 12


def chunk_header(midi: Any) -> Case:
    return midi.header(tracks=2) + midi.chunk(midi.end) + b"MTr", 26


def chunk_length(midi: Any) -> Case:
    return midi.header() + midi.chunk(midi.end, length=2**32 - 1), 14


def truncated_event(midi: Any) -> Case:
    return midi.header() + midi.chunk(b"\x00\x90\x3c"), FIRST_EVENT


def no_running_status(midi: Any) -> Case:
    return midi.file(b"\x00\x3c\x50"), FIRST_EVENT


def undefined_status(midi: Any) -> Case:
    return midi.file(b"\x00\xf4"), FIRST_EVENT


def data_byte(midi: Any) -> Case:
    return midi.file(midi.note() + b"\x00\x90\x80\x50"), FIRST_EVENT + len(midi.note())


def pitch_bend(midi: Any) -> Case:
    return midi.file(b"\x00\xe0\x00\x80"), FIRST_EVENT


def time_signature_denominator(midi: Any) -> Case:
    return midi.file(midi.signature(4, 8)), FIRST_EVENT


def empty_bars(midi: Any) -> Case:
    return midi.file(midi.signature(0, 2) + midi.note()), -1


def too_many_tracks(midi: Any) -> Case:
    tracks = [midi.note() for _ in range(1025)]
    return midi.file(*tracks), len(midi.file(*tracks[1:])) + 8


def too_many_notes(midi: Any) -> Case:
    notes = b"\x00\x90\x3c\x50" + b"\x00\x3c\x50" * 999_999
    return midi.file(notes + b"\x00\x3c\x50"), FIRST_EVENT + len(notes)


def too_many_time_signatures(midi: Any) -> Case:
    signatures = midi.signature(4, 2) * 100_000
    return midi.file(signatures + midi.signature(4, 2)), FIRST_EVENT + len(signatures)


def too_many_bars(midi: Any) -> Case:
    return midi.file(midi.note(duration=20_000 * 4 + 1), division=1), -1


def too_many_ticks(midi: Any) -> Case:
    return midi.file(midi.note() + b"\xff\xff\xff\x7f\xb0\x00\x00" * 8), FIRST_EVENT + len(midi.note()) + 7 * 7


CASES: dict[str, Callable[[Any], Case]] = {
    case.__name__: case
    for case in (
        file_too_large,
        no_header,
        header_length,
        smpte_division,
        chunk_header,
        chunk_length,
        truncated_event,
        no_running_status,
        undefined_status,
        data_byte,
        pitch_bend,
        time_signature_denominator,
        empty_bars,
        too_many_tracks,
        too_many_notes,
        too_many_time_signatures,
        too_many_bars,
        too_many_ticks,
    )
} | {"format": midi_format}


def test_every_reason_has_a_case() -> None:
    assert set(CASES) == {error.name for error in READ_ERRORS.values()}


@pytest.mark.parametrize("name", CASES)
def test_reason(name: str, midi: Any) -> None:
    content, offset = CASES[name](midi)
    result = read_batch(content, np.array([0, len(content)]))
    assert READ_ERRORS[int(result.status[0])].name == name
    assert result.error_offset[0] == offset
    assert result.columns.num_pieces == 1
    assert len(result.columns.track_program) == len(result.columns.bar_length) == len(result.columns.note_pitch) == 0


@pytest.mark.parametrize(
    "allowed",
    [
        pytest.param(lambda midi: midi.file(*[midi.note() for _ in range(1024)]), id="1024 tracks"),
        pytest.param(lambda midi: midi.file(b"\x00\x90\x3c\x50" + b"\x00\x3c\x50" * 999_999), id="1 M notes"),
        pytest.param(lambda midi: midi.file(midi.signature(4, 2) * 100_000), id="100 k time signatures"),
        pytest.param(lambda midi: midi.file(midi.note(duration=20_000 * 4), division=1), id="20 k bars"),
    ],
)
def test_what_the_limits_allow(allowed: Any, midi: Any) -> None:
    content = allowed(midi)
    assert read_batch(content, np.array([0, len(content)])).status[0] == 0


def test_ticks_at_the_resolution_of_the_score_are_limited_too(midi: Any) -> None:
    """A bar of 255/1 at one tick per quarter is 1,020 ticks in the file and 489,600 in the score."""
    content = midi.file(midi.signature(255, 0) + midi.note(duration=5_000_000), division=1)
    result = read_batch(content, np.array([0, len(content)]))
    assert READ_ERRORS[int(result.status[0])].name == "too_many_ticks"


def test_message_names_file_byte_and_reason(midi: Any) -> None:
    content, _ = data_byte(midi)
    with pytest.raises(DataError, match=r"^song\.mid, byte 31: .*data byte.* 127"):
        Score.from_bytes(content, name="song.mid")
    with pytest.raises(DataError, match=r"^<bytes>: no time signature gives bars a length"):
        Score.from_bytes(empty_bars(midi)[0])


def test_missing_file_is_named(tmp_path: Any) -> None:
    with pytest.raises(DataError, match=r"none\.mid: cannot be read \(No such file or directory\)\. Check"):
        Score.from_midi(tmp_path / "none.mid")
