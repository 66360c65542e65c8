"""Durable files: writes every byte that must survive, and opens every file that a user names.

A write goes to a temporary file in the *same folder* (a rename is atomic only within one file system), is flushed to
the disk, renamed over the target, and the folder is flushed too. A reader sees the old file or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import time
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from attrs import frozen
from blake3 import blake3

from midigpt_core.errors import DataError, MidigptError, readable_name
from midigpt_core.system import locks
from midigpt_core.system.handles import READING, fsync_folder, replace, replace_folder
from midigpt_core.system.liveness import is_alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

#: Roughly when this process started. A leftover with this process's id that is older belongs to an earlier process with
#: the same id.
_STARTED = time.time()
_NOT_ALLOWED = "Choose a folder that you can write to."
_TOO_MANY_OPEN = "Close other programs, or raise the limit ('ulimit -n' shows it), and run again."
_TOO_LARGE = "Raise the limit on the size of files ('ulimit -f' shows it), or choose another folder."
#: What to do about a failed write, by error number.
_ACTIONS = {
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EROFS: _NOT_ALLOWED,
    errno.EFBIG: _TOO_LARGE,
    errno.EMFILE: _TOO_MANY_OPEN,
    errno.ENFILE: _TOO_MANY_OPEN,
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Its links lead back to themselves: correct them.",
    errno.EISDIR: "A folder has this name: choose another.",
    errno.ENOTDIR: "A part of this path is no folder: choose another.",
    errno.EEXIST: "A part of this path is no folder: choose another.",
}
# Bytes that are hashed at a time.
_HASHED_BYTES = 512 << 10
_TEMPORARY_MARK = ".midigpt-tmp-"
#: Libraries that write to a path choose the format by its suffix. Anything longer than this, in bytes, is not a suffix.
_LONGEST_SUFFIX = 32
#: What errors call a path that is neither a file nor a folder.
_SPECIAL_FILES = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
#: Seconds after which a leftover has no owner any more, where the system does not say which processes are alive.
_ABANDONED_S = 24 * 3600.0
# The largest value of pid_t, the type of a process id.
_LARGEST_PID = (1 << 31) - 1


class WriteError(MidigptError):
    """A file that could not be written; the previous one, if any, is untouched."""


def _explain(path: Path, error: OSError) -> WriteError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return WriteError(f"{path}: the disk is full. Free some space, or choose another folder, and run again.")
    reason = error.strerror or str(error)
    action = _ACTIONS.get(error.errno or 0, "Check the path and its file system.")
    return WriteError(f"{path}: cannot be written ({reason}). {action}")


@contextlib.contextmanager
def explained(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn system errors from writing ``path`` into :class:`WriteError`."""
    try:
        yield
    except OSError as error:
        raise _explain(Path(path), error) from error


@contextlib.contextmanager
def only_writer(folder: Path) -> Iterator[Callable[[], None]]:
    """Make this the only process that writes in ``folder`` (:meth:`midigpt_core.system.locks.Lock.take`). Raises
    :class:`WriteError` if another one does.

    Yields a function that raises :class:`WriteError` if the folder is no longer where it was. Data written after that
    would be lost, or would go into a new folder of the same name.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = locks.of_folder(folder)
    with lock:
        with explained(folder):
            is_ours = lock.take()
        if not is_ours:
            raise WriteError(f"{folder}: another process is writing here. Wait for it, or choose another folder.")
        yield partial(_require_there, folder, lock)


def require_writable(path: str | os.PathLike[str]) -> None:
    """Raise :class:`WriteError` if no file can be written at ``path``. Call it before a long computation."""
    target = Path(path)
    with explained(target), contextlib.suppress(FileNotFoundError):
        mode = target.stat().st_mode
        if stat.S_ISDIR(mode):
            raise WriteError(f"{target}: is a folder. Name a file.")
        if not stat.S_ISREG(mode):
            raise WriteError(f"{target}: is {_SPECIAL_FILES.get(stat.S_IFMT(mode), 'no file')}. Name a file.")
    require_writable_folder(target.parent, named=target)


def require_writable_folder(folder: str | os.PathLike[str], *, named: Path | None = None) -> None:
    """Raise :class:`WriteError` if no file can be created in ``folder`` or, if that does not exist, in its nearest
    existing parent. The message names ``named``, by default the folder.

    It creates and removes a file. Permissions do not suffice as a check: root ignores them, and a read-only file system
    has them too.
    """
    existing = Path(folder)
    with explained(named or existing):
        while True:
            try:
                existing.stat()
                break
            except FileNotFoundError:
                if existing.is_symlink() or existing == existing.parent:
                    raise
                existing = existing.parent
        probe = _temporary_name(existing / "probe")
        try:
            probe.open("xb").close()
        finally:
            with contextlib.suppress(OSError):
                probe.unlink(missing_ok=True)


def _require_there(folder: Path, lock: locks.Lock) -> None:
    with explained(folder):
        is_there = lock.is_of(folder)
    if not is_there:
        raise WriteError(
            f"{folder}: was removed, moved or replaced while it was written to. Put it back where it was, or choose"
            " another folder, and run again."
        )


class StagedFile:
    """A file that is written over a long time under a temporary name and renamed to ``path`` when it is complete.

    System errors are not converted: use it within :func:`explained`.
    """

    def __init__(self, path: str | os.PathLike[str], *, buffering: int) -> None:
        self.path = Path(path)
        self._temporary = _temporary_name(self.path)
        self.stream: IO[bytes] = self._temporary.open("x+b", buffering)

    def bring_to_disk(self) -> None:
        """Wait until everything that was passed to the system is on the disk; data in the stream's buffer is not."""
        os.fsync(self.stream.fileno())

    def publish(self) -> None:
        """Close the file and rename it to its final name; all of it must be on the disk. Durable after
        :func:`midigpt_core.system.handles.fsync_folder`."""
        self.stream.close()
        replace(self._temporary, self.path)

    def close(self) -> None:
        """Remove the file if it was not published."""
        # Closing retries a write that a full disk rejected; that error has already been raised.
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)


def _temporary_name(target: Path) -> Path:
    # Always short, because the target's name may be as long as the file system allows.
    suffix = target.suffix if len(os.fsencode(target.suffix)) <= _LONGEST_SUFFIX else ""
    return target.with_name(f"{_TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(8)}{suffix}")


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path to write; on a clean exit it replaces ``path``, on any exception it is removed.

    For libraries that insist on opening the file themselves. Raises :class:`WriteError` if the disk is full or the
    folder cannot be written.
    """
    target = Path(path)
    temporary = _temporary_name(target)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        replace(temporary, target)
        fsync_folder(target.parent)
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno is None:
            raise
        raise _explain(target, error) from error
    finally:
        # The folder itself may be the problem; that error has already been raised.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_writer(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary stream; its content replaces ``path`` on a clean exit."""
    with atomic_path(path) as temporary, temporary.open("xb") as stream:
        yield stream
        stream.flush()


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary folder that becomes ``path`` on a clean exit, and is removed on any exception.

    ``path`` must not exist or must be an empty folder, because a folder with files cannot be replaced in one step.
    Write the files inside with the other functions of this module, so that they are on the disk when the folder
    appears.
    """
    target = Path(path)
    temporary = _temporary_name(target)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
    try:
        yield temporary
        fsync_folder(temporary)
        replace_folder(temporary, target)
        fsync_folder(target.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise WriteError(f"{target}: exists already. Choose another name, or remove it.") from error
        if isinstance(error, FileNotFoundError) or error.errno is None:
            raise
        raise _explain(target, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file to read bytes. Raises OSError, at once, for a pipe, a device, a socket or a folder.

    Reading from any of these can block forever or never end. Every file that a user names is opened with this function
    or :func:`read_bytes`. The ``strerror`` of an error says what is wrong in one clause, e.g.
    ``is a named pipe, not a regular file``.
    """
    # Opening a device can already have an effect, so the type is checked before opening, and again afterwards.
    _require_regular(Path(path).stat().st_mode, path)
    handle = os.open(path, READING)
    try:
        _require_regular(os.fstat(handle).st_mode, path)
        return open(handle, "rb")  # noqa: PTH123 - of a handle
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes.

    Raises OSError like :func:`open_regular`, and with ``EFBIG`` for a larger file, without reading it.
    """
    with open_regular(path) as stream:
        if os.fstat(stream.fileno()).st_size > limit:
            _refuse_size(path, limit)
        # The size can be wrong: files of /proc say 0, and a file can grow.
        content = stream.read(limit + 1)
    if len(content) > limit:
        _refuse_size(path, limit)
    return content


def _require_regular(mode: int, path: str | os.PathLike[str]) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    kind = _SPECIAL_FILES.get(stat.S_IFMT(mode), "a special file")
    raise OSError(errno.EINVAL, f"is {kind}, not a regular file", os.fspath(path))


def _refuse_size(path: str | os.PathLike[str], limit: int) -> NoReturn:
    raise OSError(errno.EFBIG, f"is larger than the limit of {limit:,} bytes", os.fspath(path))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace ``path`` by ``content``."""
    with atomic_writer(path) as stream:
        stream.write(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Replace ``path`` by ``content`` in UTF-8."""
    write_bytes(path, content.encode("utf-8"))


@frozen
class FileState:
    """The version of the file at a path: equal states mean that it was neither changed nor replaced.

    A program can reset the time of the last write, but not the time of the last change (``ctime``).
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> FileState:
        """The state now. Raises OSError if there is no such file."""
        status = Path(path).stat()
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def check(self, path: str | os.PathLike[str]) -> None:
        """Raise :class:`DataError` unless the file at ``path`` is in this state."""
        try:
            now = FileState.of(path)
        except OSError as error:
            raise DataError(
                f"{readable_name(path)}: was removed while it was read ({error.strerror}). Put it back, and run again."
            ) from error
        if now != self:
            raise DataError(
                f"{readable_name(path)}: was changed or replaced while it was read. "
                "Run again when nothing writes to it any more."
            )


def blake3_of(path: str | os.PathLike[str]) -> str:
    """BLAKE3 of a file's bytes, hexadecimal. It identifies them as reliably as sha256, in two fifths of the time."""
    digest = blake3()
    # Not `update_mmap`: the process dies if a file is truncated while it is mapped.
    with Path(path).open("rb", buffering=0) as stream:
        while block := stream.read(_HASHED_BYTES):
            digest.update(block)
    return digest.hexdigest()


def remove_leftovers(folder: str | os.PathLike[str]) -> int:
    """Remove temporary files and folders in ``folder`` whose writer is gone; returns how many."""
    removed = 0
    for leftover in Path(folder).glob(f"{_TEMPORARY_MARK}*"):
        owner = leftover.name.removeprefix(_TEMPORARY_MARK).split("-", 1)[0]
        pid = _pid(owner)
        if pid is not None and _has_owner(leftover, pid):
            continue
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
        removed += 1
    return removed


def _pid(text: str) -> int | None:
    """The process id in ``text``; None if it cannot be one. ``isdigit`` alone accepts "²" as a number."""
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text) <= _LARGEST_PID else None


def _has_owner(leftover: Path, pid: int) -> bool:
    alive = is_alive(pid)
    if alive is None:
        alive = _age_s(leftover) < _ABANDONED_S
    return alive and not _is_of_a_namesake(leftover, pid)


def _age_s(leftover: Path) -> float:
    """Seconds since the last write; 0 if it is gone."""
    try:
        return time.time() - leftover.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_of_a_namesake(leftover: Path, owner: int) -> bool:
    """Whether an earlier process with this process's id wrote it: a program restarted in a container often gets the
    same id."""
    try:
        return owner == os.getpid() and leftover.stat().st_mtime < _STARTED
    except FileNotFoundError:
        return False
