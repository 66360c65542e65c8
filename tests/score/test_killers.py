"""Files made to use up memory or time. Bounds: docs/limits.md, one row per killer."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LIMITS = Path(__file__).parents[2] / "docs" / "limits.md"

# Runs in a process of its own, whose address space may grow by the memory bound and no further.
WORKER = """
import array, resource, sys, time
from midigpt_core._native import read_batch, read_errors
data = sys.stdin.buffer.read()
offsets = array.array("q", [0, len(data)])
names = {code: name for code, name, _ in read_errors()}
pages = int(open("/proc/self/statm").read().split()[0])
bound = pages * resource.getpagesize() + (64 << 20) + 40 * len(data)
resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
start = time.perf_counter()
buffers = read_batch(data, offsets)
seconds = time.perf_counter() - start
print(names[bytes(buffers["status"])[0]], len(buffers["note_pitch"]), seconds)
"""

#: How much longer than the bound (20 ms + 1 s per MB) a run may take on a busy machine.
PATIENCE = 4.0


def tempo_events(count: int) -> bytes:
    return b"\x00\xff\x51\x03\x07\xa1\x20" * count


def running_status(count: int) -> bytes:
    return b"\x00\x90\x3c\x50" + b"\x00\x3c\x00\x00\x3c\x50" * count


def programs_with_a_note_each(midi: Any) -> bytes:
    """A track for each of 16 channels and 128 programs in one chunk."""
    return b"".join(
        bytes([0, 0xC0 | channel, program]) + midi.note(channel=channel, duration=1)
        for channel in range(16)
        for program in range(128)
    )


def all_notes_to_the_end(midi: Any) -> bytes:
    """100 k notes that start in the first bar and end in the last of 20,000."""
    starts = b"\x00\x90\x3c\x50" + b"\x00\x3c\x50" * 99_999
    ends = midi.number(79_999) + b"\x3c\x00" + b"\x00\x3c\x00" * 99_999
    return starts + ends


def in_a_late_bar(midi: Any) -> bytes:
    return midi.note(after=79_990, duration=1)


def signatures_descending(midi: Any, count: int) -> list[bytes]:
    """Each chunk's signature lies before that of the chunk before it."""
    return [midi.signature(4, 2, after=count - index) for index in range(count)]


KILLERS: dict[str, tuple[Any, str]] = {
    "denominator 2^8": (lambda m: m.file(m.signature(4, 8) + m.note()), "time_signature_denominator"),
    "denominator 2^255": (lambda m: m.file(m.signature(4, 255) + m.note()), "time_signature_denominator"),
    "numerator 0": (lambda m: m.file(m.signature(0, 2) + m.note()), "empty_bars"),
    "signature of length 0": (lambda m: m.file(m.signature(1, 7) + m.note(), division=24), "empty_bars"),
    "a note 2^28 ticks away at 1 tick per quarter": (
        lambda m: m.file(m.note(after=2**28 - 1, duration=1), division=1), "too_many_bars"),
    "the same with 1/64 bars": (
        lambda m: m.file(m.signature(1, 6) + m.note(after=2**28 - 1, duration=1), division=16), "too_many_bars"),
    "100 k bars x 16 tracks": (
        lambda m: m.file(*[m.note(duration=400_000) for _ in range(16)], division=1), "too_many_bars"),
    "65,535 tracks, empty": (lambda m: m.file(*[b""] * 65_535), "none"),
    "65,535 tracks with a note each": (lambda m: m.file(*[m.note()] * 65_535), "too_many_tracks"),
    "1,024 tracks in the last of 20,000 bars": (lambda m: m.file(*[in_a_late_bar(m)] * 1024, division=1), "none"),
    "20 k notes over 80 k bars": (
        lambda m: m.file(m.note(duration=4, after=12) * 20_000, division=1), "too_many_bars"),
    "100 k notes across 20 k bars": (lambda m: m.file(all_notes_to_the_end(m), division=1), "none"),
    "ten million tempo events": (lambda m: m.file(tempo_events(10_000_000)), "file_too_large"),
    "two million tempo events": (lambda m: m.file(tempo_events(2_000_000)), "none"),
    "200 k time signatures": (lambda m: m.file(m.signature(4, 2) * 200_000), "too_many_time_signatures"),
    "19 k time signatures in descending order": (lambda m: m.file(*signatures_descending(m, 19_000)), "none"),
    "chunk length 2^32-1": (lambda m: m.header() + m.chunk(m.note(), length=2**32 - 1), "chunk_length"),
    "2,048 program changes with a note each": (lambda m: m.file(programs_with_a_note_each(m)), "too_many_tracks"),
    "a million program changes": (lambda m: m.file(m.note() + b"\x00\xc0\x00\x00\x01" * 1_000_000), "none"),
    "tick sums beyond 2^31": (lambda m: m.file(m.note() + b"\xff\xff\xff\x7f\xb0\x00\x00" * 9), "too_many_ticks"),
    "ticks beyond 2^31 in the score only": (
        lambda m: m.file(m.signature(255, 0) + m.note(duration=5_000_000), division=1), "too_many_ticks"),
    "running status, 16 MiB": (lambda m: m.file(running_status(2_700_000)), "too_many_notes"),
    "a million notes by running status": (lambda m: m.file(running_status(999_999)), "none"),
    "running status of a system message": (
        lambda m: m.file(b"\x00\xf0\x02\x00\xf7" + b"\x00\x3c\x50\x00" * 1000), "none"),
    "data bytes above 127": (lambda m: m.file(b"\x00\x90\xff\xff" * 1000), "data_byte"),
    "a million notes never closed": (lambda m: m.file(b"\x00\x90\x3c\x50" + b"\x00\x3c\x50" * 999_999), "none"),
}  # fmt: skip


@pytest.mark.parametrize("name", KILLERS)
def test_killer(name: str, midi: Any) -> None:
    make, expected = KILLERS[name]
    content = make(midi)
    finished = subprocess.run([sys.executable, "-c", WORKER], input=content, capture_output=True, check=True)
    status, _notes, seconds = finished.stdout.split()
    assert status.decode() == expected
    assert float(seconds) <= PATIENCE * (0.02 + len(content) / 1e6)


def test_no_memory_left_is_an_error_and_no_crash(midi: Any) -> None:
    """2,000 files of 20,000 bars each in one call, with 100 MB to hold them."""
    program = """
import array, resource, sys
from midigpt_core._native import read_batch
data = sys.stdin.buffer.read() * 2000
offsets = array.array("q", range(0, len(data) + 1, len(data) // 2000))
pages = int(open("/proc/self/statm").read().split()[0])
bound = pages * resource.getpagesize() + (100 << 20)
resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
for threads in 1, 2:
    try:
        read_batch(data, offsets, threads)
    except MemoryError:
        print("MemoryError")
"""
    content = midi.file(midi.note(duration=80_000), division=1)
    finished = subprocess.run([sys.executable, "-c", program], input=content, capture_output=True, check=True)
    assert finished.stdout.split() == [b"MemoryError", b"MemoryError"]


def test_every_killer_has_a_row_in_the_documentation() -> None:
    rows = re.findall(r"^\| ([^|]+?) \|", LIMITS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [name for name in KILLERS if name not in rows] == []
