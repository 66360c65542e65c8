"""Locks by the kernel and, without it, by SQLite: one owner at a time, and none that outlives its owner."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from midigpt_core.files import WriteError, only_writer
from midigpt_core.system import locks
from midigpt_core.system.capabilities import without

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOLD = """
import sys
from pathlib import Path
from midigpt_core.system import locks
with locks.of_file(Path(sys.argv[1])) as lock:
    print(lock.take(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture(
    autouse=True,
    params=[(), ("flock",), ("flock", "folders"), ("folders",)],
    ids=lambda names: "-".join(names) or "all",
)
def lacking(request: pytest.FixtureRequest) -> Iterator[tuple[str, ...]]:
    with without(*request.param):
        yield request.param


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


@pytest.mark.parametrize("how", ["killed", "ended"])
def test_the_lock_of_another_process_ends_with_it(tmp_path: Path, how: str) -> None:
    path = tmp_path / "lock"
    with locks.of_file(path) as lock, hold(path) as process:
        assert [lock.take(), lock.take()] == [False, False]
        if how == "killed":
            process.kill()
        process.communicate()
        assert lock.take()


def test_two_locks_of_one_process_exclude_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locks.of_folder(tmp_path) as first, locks.of_folder(tmp_path) as second:
        assert first.take()
        assert not second.take()
        # Closed by another thread, as when a generator is finished there.
        thread = threading.Thread(target=first.close)
        thread.start()
        thread.join()
        assert second.take()
        monkeypatch.setattr(first, "close", lambda: None)  # it is closed


def test_one_writer_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with only_writer(folder) as require_there:
        require_there()
        with pytest.raises(WriteError, match="run: another process is writing here"), only_writer(folder):
            pass
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        with pytest.raises(WriteError, match="run: was removed, moved or replaced"):
            require_there()
        folder.rmdir()
        with pytest.raises(WriteError, match="run: was removed, moved or replaced"):
            require_there()
    with only_writer(tmp_path / "moved"):
        pass


def test_without_any_locks_nobody_is_kept_out(
    tmp_path: Path, lacking: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "flock" not in lacking:
        monkeypatch.setattr(locks.fcntl, "flock", lambda *_: None)
    monkeypatch.setattr(locks, "sqlite3", None)
    with only_writer(tmp_path), only_writer(tmp_path):
        pass
