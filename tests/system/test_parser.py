"""The isolated parser where processes cannot be forked, have no alarm, or no limit on their memory."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from midigpt_core.corpus import isolation, status
from midigpt_core.corpus.isolation import IsolatedParser, ParserLimits
from midigpt_core.score.columns import COLUMNS
from midigpt_core.score.reading import read_batch
from midigpt_core.system import liveness
from midigpt_core.system.capabilities import without
from support.corpus import small_rows
from support.parsers import EXIT, HANG, MEMORY, RAISE, SEGFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator

CRASHED = status.crashed(11)


@pytest.fixture(params=[("fork",), ("signals",), ("memfd",), ("fork", "signals", "memfd")], ids=str)
def lacking(request: pytest.FixtureRequest) -> Iterator[None]:
    with without(*request.param):
        yield


def batch(files: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *map(len, files)], dtype=np.int64)


@pytest.mark.usefixtures("lacking")
def test_each_fault_is_told_from_the_others() -> None:
    files = small_rows(40)
    for row, fault in ((3, SEGFAULT), (21, EXIT), (39, MEMORY)):
        files[row] = fault
    limits = ParserLimits(timeout_s=60.0, memory_bytes=512 << 20)
    with IsolatedParser("support.parsers:faulty", limits=limits) as parser:
        found = parser.parse(*batch(files))
        again = parser.parse(*batch(small_rows(5)))
    expected = {3: CRASHED, 21: status.EXITED, 39: status.MEMORY}
    assert {row: code for row, code in enumerate(found.status.tolist()) if code != status.KEPT} == expected
    assert again.status.tolist() == [status.KEPT] * 5


@pytest.mark.usefixtures("lacking")
def test_a_row_that_hangs_is_told_from_one_that_crashes() -> None:
    first, last = small_rows(2)
    # Few rows: each but the one that hangs must be parsed within the time-out on a busy machine too.
    with IsolatedParser("support.parsers:faulty", limits=ParserLimits(timeout_s=2.0)) as parser:
        found = parser.parse(*batch([first, HANG, SEGFAULT, last]))
    assert found.status.tolist() == [status.KEPT, status.TIMEOUT, CRASHED, status.KEPT]


@pytest.mark.usefixtures("lacking")
def test_batches_in_turn_of_a_parser_that_prints(capfd: pytest.CaptureFixture[str]) -> None:
    with IsolatedParser("support.parsers:chatty") as parser:
        for files in (small_rows(300), [], small_rows(7, seed=1) * 20):
            found, expected = parser.parse(*batch(files)), read_batch(*batch(files))
            assert found.status.tolist() == expected.status.tolist()
            for name in COLUMNS:
                np.testing.assert_array_equal(getattr(found.columns, name), getattr(expected.columns, name))
    assert "not an answer" in "".join(capfd.readouterr())


@pytest.mark.usefixtures("lacking")
@pytest.mark.parametrize(
    ("parser", "message"),
    [("support.parsers:faulty", "raised an exception, which is a bug"), ("support.parsers:missing", "ended with code")],
)
def test_a_bug_of_the_parser_is_an_error(parser: str, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match=message), IsolatedParser(parser) as isolated:
        isolated.parse(*batch([*small_rows(2), RAISE]))
    assert ("ValueError: a bug" if parser.endswith("faulty") else "AttributeError") in capfd.readouterr().err


def test_a_separate_process_ends_with_the_one_that_started_it() -> None:
    code = """
import sys
from midigpt_core.corpus.isolation import IsolatedParser
from support.corpus import small_rows
import numpy as np
with IsolatedParser() as parser:
    (row,) = small_rows(1)
    parser.parse(np.frombuffer(row, np.uint8), np.array([0, len(row)]))
    print(parser._processes._process.pid, flush=True)
    sys.stdin.read()
"""
    environment_path = next(path for path in sys.path if path.endswith("tests"))
    with (
        without("fork"),
        subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path.insert(0, {environment_path!r})\n{code}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert liveness.is_alive(child)
        process.kill()
    deadline = time.monotonic() + 20
    while liveness.is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_memory_without_limit_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    isolation._warn_of_unlimited_memory.cache_clear()
    with without("proc"), caplog.at_level(logging.WARNING, "midigpt_core"):
        for _ in range(2):
            with IsolatedParser() as parser:
                assert parser.parse(*batch(small_rows(1))).status.tolist() == [status.KEPT]
    assert [record.getMessage() for record in caplog.records] == [
        "This system does not limit the memory of the MIDI parser: a malicious file can take all of it. "
        "Read files that you do not trust in a container or virtual machine that has a limit."
    ]
    isolation._warn_of_unlimited_memory.cache_clear()
