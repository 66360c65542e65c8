"""Durable files: what cannot be written is said in a line that names it; only regular files are read, up to a limit."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from midigpt_core import files
from midigpt_core.errors import DataError


def test_whether_a_file_can_be_written_is_asked_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.require_writable(tmp_path / "new" / "deep" / "x.mid")
    files.require_writable_folder(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
    there = tmp_path / "there"
    there.write_text("mine")
    files.require_writable(there)
    assert there.read_text() == "mine"
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere" / "at all")
    os.mkfifo(tmp_path / "pipe")
    for path, reason in {
        tmp_path: "is a folder",
        Path("/dev/null"): "is a device. Name a file",
        tmp_path / "pipe": "is a named pipe",
        there / "below": "Not a directory",
        there / "far" / "below": "Not a directory",
        tmp_path / ("x" * 300): "File name too long",
        tmp_path / "lost" / "x": "No such file or directory",
    }.items():
        with pytest.raises(files.WriteError, match=rf"^{path}: .*{reason}"):
            files.require_writable(path)
    removed = tmp_path / "removed"
    removed.mkdir()
    monkeypatch.chdir(removed)
    removed.rmdir()
    with pytest.raises(files.WriteError, match=r"^run/x: cannot be written \(No such file or directory\)"):
        files.require_writable("run/x")


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says of a removed working folder, as of one under ``/proc``, that there is no such file."""
    removed = tmp_path / "removed"
    removed.mkdir()
    monkeypatch.chdir(removed)
    removed.rmdir()
    with pytest.raises(files.WriteError, match=r"run/config\.json: cannot be written \(No such file or directory\)"):
        files.write_text("run/config.json", "{}")
    with pytest.raises(files.WriteError, match=r"run: cannot be written"), files.atomic_folder("run"):
        pass


@pytest.mark.parametrize("length", [222, 251, 255])
def test_the_longest_legal_name_is_written(tmp_path: Path, length: int) -> None:
    """A temporary name as long as its target's would not fit the file system."""
    target = tmp_path / f"{'n' * (length - 4)}.mid"
    files.write_bytes(target, b"music")
    with files.atomic_folder(tmp_path / ("f" * length)) as folder:
        (folder / "inside").touch()
    assert target.read_bytes() == b"music"
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["f", "n"]


def test_a_temporary_file_has_the_suffix_that_tells_its_format(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "curves.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.touch()
    long = tmp_path / f"a.{'b' * 240}"
    files.write_bytes(long, b"")
    assert long.exists()


def test_the_action_fits_the_cause(tmp_path: Path) -> None:
    """ "Choose a folder that you can write to" does not help if the name is too long."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in {
        "n" * 256: r"File name too long\)\. Choose a shorter name\.",
        "loop/a": r"\)\. A part of this path is no folder: choose another\.",
        "folder": r"Is a directory\)\. A folder has this name: choose another\.",
        "file/a": r"\)\. A part of this path is no folder: choose another\.",
    }.items():
        with pytest.raises(files.WriteError, match=reason):
            files.write_text(tmp_path / path, "")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(files.WriteError) as raised:
            files.write_text(tmp_path / "another", "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files). Close other programs, or raise the limit" in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop"]


def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of these may be waited for, and the device has no end."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for path, kind in (
            ("pipe", "a named pipe"),
            ("link", "a named pipe"),
            ("socket", "a socket"),
            ("/dev/zero", "a device"),
        ):
            for read in (files.open_regular, lambda path: files.read_bytes(path, 10)):
                with pytest.raises(OSError, match=f"is {kind}, not a regular file") as caught:
                    read(path)
                assert (caught.value.errno, caught.value.filename) == (errno.EINVAL, path)
    with pytest.raises(IsADirectoryError):
        files.open_regular(tmp_path)
    with pytest.raises(FileNotFoundError):
        files.open_regular(tmp_path / "missing")


def test_a_path_that_becomes_a_pipe_after_it_was_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    plain = Path(__file__).stat()
    monkeypatch.setattr(Path, "stat", lambda _: plain)
    with pytest.raises(OSError, match="is a named pipe"):
        files.open_regular(pipe)


def test_what_is_read_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    (tmp_path / "link").symlink_to(path)
    assert files.read_bytes(path, 10) == files.read_bytes(str(tmp_path / "link"), 11) == b"0123456789"
    with files.open_regular(path) as stream:
        assert stream.read(3) == b"012"
    os.truncate(path, 3 << 40)
    for larger, limit in ((path, 1 << 20), ("/proc/self/maps", 100)):  # the second says that its size is 0
        with pytest.raises(OSError, match=f"is larger than the limit of {limit:,} bytes") as caught:
            files.read_bytes(larger, limit)
        assert caught.value.errno == errno.EFBIG


@pytest.mark.parametrize("owner", ["99999999999999999999", "\N{SUPERSCRIPT TWO}", "0", "-1", "", "x"])
def test_leftovers_of_no_process_are_removed(tmp_path: Path, owner: str) -> None:
    (tmp_path / f".midigpt-tmp-{owner}-00000000-config.json").write_bytes(b"")
    (tmp_path / f".midigpt-tmp-{owner}-00000000-bundle").mkdir()
    ours = tmp_path / f".midigpt-tmp-{os.getpid()}-00000000-config.json"
    ours.write_bytes(b"")
    assert files.remove_leftovers(tmp_path) == 2
    assert list(tmp_path.iterdir()) == [ours]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems do not say that a process has ended")
def test_leftovers_of_a_killed_process_that_nobody_has_waited_for_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        (tmp_path / f".midigpt-tmp-{process.pid}-00000000-a (b.npy").write_bytes(b"")
        assert files.remove_leftovers(tmp_path) == 0
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        os.kill(process.pid, 0)  # it still has an entry
        assert files.remove_leftovers(tmp_path) == 1


def test_a_leftover_link_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "kept" / "inside").mkdir(parents=True)
    (tmp_path / ".midigpt-tmp-x").symlink_to(tmp_path / "kept")
    assert files.remove_leftovers(tmp_path) == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "inside"]


@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", flock)
    with files.only_writer(tmp_path), files.only_writer(tmp_path):
        pass
    monkeypatch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, os.strerror(errno.EIO))))
    with pytest.raises(files.WriteError, match="cannot be written"), files.only_writer(tmp_path):
        pass


def test_a_file_is_the_same_until_it_changes(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"one")
    other.write_bytes(b"two")
    state = files.FileState.of(path)
    state.check(path)
    times = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DataError, match="a: was changed or replaced while it was read"):
        state.check(path)
    state = files.FileState.of(path)
    other.replace(path)
    with pytest.raises(DataError, match="a: was changed or replaced while it was read"):
        state.check(path)
    path.unlink()
    with pytest.raises(DataError, match="a: was removed while it was read"):
        state.check(path)
