"""Files made to use up memory or time. Bounds: docs/limits.md, one row per file.

Each is read in a process of its own in which the C allocator counts every byte handed out during the call, and with it
operator new, std::vector and realloc: see count_allocations.c and support/allocations.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midigpt_core import _native
from support.malicious_midi import DENOMINATORS, MALICIOUS, with_denominator

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.midi_bytes import MidiBytes

HERE = Path(__file__).parent
LIMITS = HERE.parents[1] / "docs" / "limits.md"
FILES = sorted((HERE.parent / "data" / "midi").glob("*.mid"))


@pytest.fixture(scope="session")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], dict[str, Any]]:
    """``counted("whole", content)``: what support/allocations.py prints about reading it."""
    library = tmp_path_factory.mktemp("allocator") / "count_allocations.so"
    source = HERE / "count_allocations.c"
    compiler = os.environ.get("CC", "cc")
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)

    def run(what: str, content: bytes) -> dict[str, Any]:
        finished = subprocess.run(
            [sys.executable, "-m", "support.allocations", what],
            input=content,
            capture_output=True,
            check=True,
            env={**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(HERE.parent)},
        )
        measured: dict[str, Any] = json.loads(finished.stdout)
        return measured

    return run


def assert_within_bounds(measured: dict[str, Any]) -> None:
    assert 0 < measured["share_of_bytes"] <= 1
    assert measured["share_of_seconds"] <= 1


@pytest.mark.unsanitized
@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_file(name: str, midi: MidiBytes, counted: Callable[..., dict[str, Any]]) -> None:
    make, expected = MALICIOUS[name]
    measured = counted("whole", make(midi))
    assert measured["statuses"] == [expected]
    assert_within_bounds(measured)


@pytest.mark.parametrize("name", MALICIOUS)
def test_malicious_file_in_this_process(name: str, midi: MidiBytes) -> None:
    """Where a sanitizer can watch (`make sanitize`)."""
    make, expected = MALICIOUS[name]
    content = make(midi)
    status = _native.read_batch(content, np.array([0, len(content)]))["status"]
    names = {code: name for code, name, _ in _native.read_errors()}
    assert [names[code] for code in bytes(status)] == [expected]


def test_every_denominator_beyond_128_is_refused(midi: MidiBytes) -> None:
    files = [with_denominator(exponent, midi) for exponent in DENOMINATORS]
    offsets = np.cumsum([0, *map(len, files)])
    status = _native.read_batch(b"".join(files), offsets)["status"]
    names = {code: name for code, name, _ in _native.read_errors()}
    assert {names[code] for code in bytes(status)} == {"time_signature_denominator"}


@pytest.mark.unsanitized
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_cut_off_after_every_byte(path: Path, counted: Callable[..., dict[str, Any]]) -> None:
    content = path.read_bytes()
    measured = counted("cuts", content)
    assert_within_bounds(measured)
    # Fewer tracks than announced are accepted: a file may end after its header or between two chunks.
    ends = [14]
    while (end := ends[-1] + 8 + int.from_bytes(content[ends[-1] + 4 : ends[-1] + 8], "big")) < len(content):
        ends.append(end)
    endings = measured["endings"]["file"]
    assert set(endings) <= {"no_header", "chunk_header", "chunk_length", "none"}
    assert (endings["no_header"], endings["none"]) == (14, len(ends))
    assert sum(endings.values()) == len(content)
    # A track may end between two events, else the event that is cut says so.
    endings = measured["endings"]["track"]
    assert set(endings) == {"truncated_event", "none"}
    assert sum(endings.values()) == len(content) - 14 - 8 * len(ends)


@pytest.mark.unsanitized
def test_the_allocator_counts(counted: Callable[..., dict[str, Any]]) -> None:
    """Without it the bounds above would hold for anything."""
    measured = counted("whole", (HERE.parent / "data" / "midi" / "mutopia_mozart_kv525_1.mid").read_bytes())
    assert measured["statuses"] == ["none"]
    assert measured["columns"] > 50_000
    assert measured["columns"] <= measured["held"] <= measured["allocated"] < 100 * measured["columns"]


@pytest.mark.unsanitized
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


def test_every_malicious_file_has_a_row_in_the_documentation() -> None:
    rows = re.findall(r"^\| ([^|]+?) \|", LIMITS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert [name for name in MALICIOUS if name not in rows] == []
