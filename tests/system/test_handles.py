"""Files and folders with and without what only some systems can do with them."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from midigpt_core import files
from midigpt_core.system import handles
from midigpt_core.system.capabilities import without

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("names", [(), ("descriptors",)])
def test_threads_read_at_their_positions(tmp_path: Path, names: tuple[str, ...]) -> None:
    content = os.urandom(1 << 16)
    (tmp_path / "file").write_bytes(content)
    with without(*names), files.open_regular(tmp_path / "file") as stream, ThreadPoolExecutor(4) as pool:
        positions = range(0, len(content) + 100, 97)
        read = pool.map(lambda position: handles.read_at(stream.fileno(), 200, position), positions)
        assert list(read) == [content[position : position + 200] for position in positions]


@pytest.mark.parametrize("names", [(), ("descriptors",)])
def test_waiting_for_a_full_pipe(names: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, bytes(1 << 16))
    thread = threading.Timer(0.05, lambda: os.read(reading, 1 << 20))
    thread.start()
    with without(*names):
        while True:
            handles.wait_until_writable(writing)
            try:
                os.write(writing, b"x")
                break
            except BlockingIOError:
                continue
    thread.join()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("names", [(), ("folders",)])
def test_files_and_folders_are_written_whole(tmp_path: Path, names: tuple[str, ...]) -> None:
    with without(*names):
        files.write_text(tmp_path / "file", "one")
        files.write_text(tmp_path / "file", "two")
        assert (tmp_path / "file").read_text() == "two"
        for name in ("new", "empty"):
            if name == "empty":
                (tmp_path / name).mkdir()
            with files.atomic_folder(tmp_path / name) as folder:
                files.write_bytes(folder / "inside", b"x")
            assert (tmp_path / name / "inside").read_bytes() == b"x"
        with pytest.raises(files.WriteError, match="exists already"), files.atomic_folder(tmp_path / "new"):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "new"]


def test_a_file_that_another_program_has_open_is_replaced_when_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Windows does it; the error is simulated."""
    refusals, original = [3], os.replace

    def replace(source: Path, target: Path) -> None:
        if refusals[0]:
            refusals[0] -= 1
            raise PermissionError(13, "Permission denied")
        original(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(files.WriteError, match="cannot be written"):
        files.write_bytes(tmp_path / "file", b"x")
    assert refusals == [2]
    with without("folders"):
        files.write_bytes(tmp_path / "file", b"x")
        assert refusals == [0]
        refusals[0] = 1 << 30
        monkeypatch.setattr(handles, "_SCANNED_S", 0.05)
        with pytest.raises(files.WriteError, match="cannot be written"):
            files.write_bytes(tmp_path / "file", b"y")
    assert (tmp_path / "file").read_bytes() == b"x"


def test_a_published_file_is_closed(tmp_path: Path) -> None:
    """Windows renames no open file."""
    staged = files.StagedFile(tmp_path / "file", buffering=1024)
    staged.stream.write(b"x")
    staged.stream.flush()
    staged.bring_to_disk()
    staged.publish()
    assert staged.stream.closed
    staged.close()
    assert (tmp_path / "file").read_bytes() == b"x"


def test_leftovers_go_after_a_day_where_nobody_knows_who_is_alive(tmp_path: Path) -> None:
    for pid, age_h in ((os.getpid(), 0), (1, 0), (1, 23), (1, 25), (2**22 + 1, 0)):
        leftover = tmp_path / f".midigpt-tmp-{pid}-{age_h}"
        leftover.write_bytes(b"")
        now = leftover.stat().st_mtime
        os.utime(leftover, (now - age_h * 3600, now - age_h * 3600))
    with without("signals"):
        assert files.remove_leftovers(tmp_path) == 1
    assert not (tmp_path / ".midigpt-tmp-1-25").exists()
    assert files.remove_leftovers(tmp_path) == 1  # no process has this number
