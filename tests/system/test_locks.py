"""Locks by the kernel and, without it, by SQLite: one owner at a time, and none that outlives its owner."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from midigpt_core.corpus.cache import owned
from midigpt_core.files import WriteError, only_writer
from midigpt_core.system import database_lock, locks
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


_TRY = """
import sys
from pathlib import Path
from midigpt_core.system import locks
with locks.of_file(Path(sys.argv[1])) as lock:
    print(lock.take())
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


def another_takes(path: Path) -> bool:
    """Whether another process can take the lock of a file now."""
    done = subprocess.run([sys.executable, "-c", _TRY, str(path)], stdout=subprocess.PIPE, text=True, check=True)
    return {"True\n": True, "False\n": False}[done.stdout]


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


def test_other_locks_of_its_process_do_not_release_a_lock(tmp_path: Path) -> None:
    """Closing a file drops the record locks that the process has on it, through whatever handle they were taken."""
    path = tmp_path / "lock"
    with locks.of_file(path) as lock:
        assert lock.take()
        assert not another_takes(path)
        with locks.of_file(path) as second:
            assert not another_takes(path)
            assert not second.take()
            assert not another_takes(path)
        assert not another_takes(path)
    assert another_takes(path)


def test_a_shard_that_two_threads_want_stays_locked(tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "shard"
    waits = threading.Event()

    def want() -> None:
        with owned(folder, waits.set):
            pass

    thread = threading.Thread(target=want)
    with owned(folder, lambda: None):
        thread.start()
        assert waits.wait(20)
        assert not another_takes(tmp_path / "locks" / "shard")
    thread.join()
    assert another_takes(tmp_path / "locks" / "shard")


def test_locks_made_at_once_by_many_threads(tmp_path: Path) -> None:
    """One of them creates the file while another takes the lock."""
    paths = [tmp_path / str(number) for number in range(20)]
    owners: list[tuple[Path, locks.Lock]] = []
    together = threading.Barrier(4)

    def take_each() -> None:
        for path in paths:
            together.wait(20)
            lock = locks.of_file(path)
            if lock.take():
                owners.append((path, lock))
            else:
                lock.close()

    threads = [threading.Thread(target=take_each) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path for path, _ in owners) == sorted(paths)
    assert not any(another_takes(path) for path in paths)
    for _, lock in owners:
        lock.close()


def test_a_lock_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        locks.of_file(tmp_path)
    with pytest.raises(FileNotFoundError):
        locks.of_file(tmp_path / "missing" / "lock")


def test_sqlite_is_loaded_only_where_it_locks(lacking: tuple[str, ...], tmp_path: Path) -> None:
    code = f"import sys\n{_TRY}\nimport midigpt_core.files\nprint('sqlite3' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout == f"True\n{'flock' in lacking}\n"


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
    monkeypatch.setattr(database_lock, "sqlite3", None)
    with only_writer(tmp_path), only_writer(tmp_path):
        pass
