"""Reading in batches: mixed files, threads, damage, and what the native module imports."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midigpt_core import _native
from midigpt_core.records import CORPUS_RESOLUTION, ScoreColumns
from midigpt_core.score import Score
from midigpt_core.score.columns import COLUMNS, OFFSETS, concatenate, select
from midigpt_core.score.reading import READ_ERRORS, ReadResult, columns_from_buffers, read_batch
from support.midi_bytes import MidiBytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SMALL_FILE = "edge_cross_bar_sustain.mid"


def read_all(contents: Sequence[bytes], threads: int = 1) -> ReadResult:
    offsets = np.cumsum([0, *(len(content) for content in contents)])
    return read_batch(b"".join(contents), offsets, threads)


def assert_equal(a: ScoreColumns, b: ScoreColumns) -> None:
    for name in (*COLUMNS, *OFFSETS.values()):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert getattr(a, name).dtype == getattr(b, name).dtype, name


@pytest.fixture(scope="module")
def good_files(midi_folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(midi_folder.glob("*.mid"))]


def test_a_batch_is_its_files_one_by_one(good_files: list[bytes]) -> None:
    batch = read_all(good_files)
    assert not batch.status.any()
    assert (batch.error_offset == -1).all()
    assert_equal(batch.columns, concatenate([read_all([content]).columns for content in good_files]))
    assert batch.columns.resolution == CORPUS_RESOLUTION


def test_a_bad_file_leaves_its_neighbours_alone(good_files: list[bytes]) -> None:
    bad = b"no music"
    mixed = [bad, good_files[0], bad, good_files[1][:-9], good_files[7], bad]
    result = read_all(mixed)
    assert [READ_ERRORS[code].name if code else "" for code in result.status.tolist()] == [
        "no_header", "", "no_header", "chunk_length", "", "no_header",
    ]  # fmt: skip
    assert_equal(select(result.columns, [1, 4]), read_all([good_files[0], good_files[7]]).columns)
    for failed in (0, 2, 3, 5):
        piece = select(result.columns, [failed])
        assert [len(getattr(piece, name)) for name, spec in COLUMNS.items() if spec.level != "piece"] == [0] * 14


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_change_nothing(good_files: list[bytes], threads: int) -> None:
    files = [*good_files, b"bad", good_files[9][:100]] * 15
    one, many = read_all(files), read_all(files, threads)
    assert_equal(one.columns, many.columns)
    np.testing.assert_array_equal(one.status, many.status)
    np.testing.assert_array_equal(one.error_offset, many.error_offset)


def test_damaged_files_end_in_a_status(good_files: list[bytes]) -> None:
    """Bytes of real files overwritten, removed and repeated: every result is consistent."""
    chance = random.Random(5)
    damaged = []
    for _ in range(1500):
        content = bytearray(chance.choice(good_files)[: chance.randrange(50, 3000)])
        for _ in range(chance.randrange(1, 8)):
            position = chance.randrange(14, len(content))
            content[position : position + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        damaged.append(bytes(content))
    assert_consistent(read_all(damaged, threads=2))


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_end_in_a_status(events: list[bytes]) -> None:
    chunks = b"".join(b"MTrk" + len(part).to_bytes(4, "big") + part for part in events)
    header = b"MThd\0\0\0\6\0\1" + len(events).to_bytes(2, "big") + b"\1\xe0"
    assert_consistent(read_all([header + chunks, chunks]))


def assert_consistent(result: ReadResult) -> None:
    """Ends ascend, cells are within bars and never empty, notes within their bars."""
    columns = result.columns
    assert set(result.status.tolist()) <= {0, *READ_ERRORS}
    for piece in range(columns.num_pieces):
        one = select(columns, [piece])
        score = Score(one)
        assert (np.diff(one.track_cell_end, prepend=0) >= 0).all()
        assert (np.diff(one.cell_note_end, prepend=0) > 0).all()
        assert len(one.note_pitch) == (one.cell_note_end[-1] if len(one.cell_note_end) else 0)
        for track in score.tracks:
            bars = one.cell_bar[track.cell_run]
            assert (np.diff(bars) > 0).all()
            assert not len(bars) or 0 <= bars[0] <= bars[-1] < len(one.bar_length)
        assert (one.note_onset >= 0).all()
        assert (one.note_duration >= 1).all()
        assert (np.abs(one.note_microtiming) <= 240).all()


def test_empty_batch() -> None:
    result = read_batch(b"", np.zeros(1, np.int64))
    assert result.columns.num_pieces == len(result.status) == 0


@pytest.mark.parametrize(
    ("offsets", "message"),
    [([], "one value more"), ([0, 9], "beyond the data"), ([0, 5, 4], "descend"), ([-1, 4], "negative")],
)
def test_offsets_are_checked(offsets: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_batch(b"12345678", np.array(offsets, np.int64))


def test_types_and_threads_are_checked() -> None:
    with pytest.raises(TypeError, match="offsets must be one contiguous run"):
        read_batch(b"12345678", np.array([0, 8], np.int32))
    with pytest.raises(TypeError, match="offsets must be one contiguous run"):
        read_batch(b"12345678", np.array([0, 4, 8])[::2])
    with pytest.raises(ValueError, match="threads must be at least 1"):
        read_batch(b"12345678", np.array([0, 8]), threads=0)


def test_buffers_are_complete_and_read_only(good_files: list[bytes]) -> None:
    buffers = _native.read_batch(good_files[0], np.array([0, len(good_files[0])]))
    fields = {field.name for field in attrs.fields(ScoreColumns)} - {"resolution", "track_bar_end"}
    assert set(buffers) == fields | {"status", "error_offset"}
    columns = columns_from_buffers(buffers)
    assert memoryview(buffers["note_pitch"]).readonly
    assert not columns.note_pitch.flags.writeable
    copied = columns_from_buffers({name: bytes(memoryview(buffer)) for name, buffer in buffers.items()})
    assert_equal(columns, copied)


def test_the_native_module_alone_imports_no_numpy(midi_folder: Path) -> None:
    """A worker that only parses stays small and starts fast."""
    program = (
        "import array, sys; from midigpt_core._native import read_batch; "
        f"data = open({str(midi_folder / SMALL_FILE)!r}, 'rb').read(); "
        "buffers = read_batch(data, array.array('q', [0, len(data)])); "
        "assert bytes(buffers['status']) == b'\\0' and len(buffers['note_pitch']) == 16; "
        "assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_reading_does_not_depend_on_what_was_read_before(good_files: list[bytes], midi: Any) -> None:
    """Notes left open, programs and held controllers end with their chunk and file."""
    open_note = midi.file(b"\x00\xb0\x01\x02" + b"\x00\xc0\x07" + b"\x00\x90\x3c\x50")
    failing = open_note[:-3]
    closing = midi.file(b"\x60\x80\x3c\x00" + midi.note(pitch=62))
    together = read_all([open_note, failing, closing, good_files[3]])
    alone = concatenate([read_all([content]).columns for content in (open_note, failing, closing, good_files[3])])
    assert_equal(together.columns, alone)
    assert select(together.columns, [2]).track_program.tolist() == [0]


def test_ties_of_rounding_and_of_tempo_go_as_in_the_public_package() -> None:
    """Values that midigpt 0.4.2 gave for these files: see docs/reading-midi.md."""
    midi = MidiBytes()
    tempo = {value: b"\x00\xff\x51\x03" + value.to_bytes(3, "big") for value in (400_000, 300_000, 200_000)}
    for first, *others in ((400_000, 300_000, 200_000), (200_000, 300_000, 400_000)):
        in_one = midi.file([tempo[first], *(tempo[other] for other in others), midi.note()])
        in_several = midi.file([tempo[first], midi.note()], *([tempo[other]] for other in others))
        assert Score.from_bytes(in_one).tempo == Score.from_bytes(in_several).tempo == first
    # One after another, of 1 to 7 ticks, at half the grid's width: every second start or end is a tie.
    notes = [midi.note(60 + length, length, after=1 if length == 1 else 0) for length in range(1, 8)]
    columns = Score.from_bytes(midi.file(notes, division=960)).columns
    assert columns.note_onset.tolist() == [1, 1, 2, 4, 6, 8, 11]
    assert columns.note_duration.tolist() == [1, 1, 2, 2, 2, 3, 4]
    assert columns.note_microtiming.tolist() == [-240, 0, 0, -240, -240, 0, 0]
