"""Locks that end with their owner, however it dies.

Without ``flock``, SQLite locks: an exclusive transaction on an empty database in the lock file. It does so on every
system that Python runs on.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from midigpt_core.system.capabilities import has
from midigpt_core.system.handles import open_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import sqlite3
except ImportError:  # a Python that was built without it
    sqlite3 = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

#: The lock of a folder that cannot be opened is this file in it.
LOCK_NAME = ".midigpt-lock"
# Errors of file systems without locks, and of network file systems that cannot lock a folder.
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL}


class Lock(ABC):
    """A lock that this process may take. Close it to release it, or use it as a context."""

    @abstractmethod
    def take(self) -> bool:
        """Take the lock; False if another process or :class:`Lock` has it.

        Also True if the file system has no locks, and then no process is kept out. Raises OSError for any other error.
        """

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def _state(self) -> os.stat_result: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def is_of(self, path: Path) -> bool:
        """Whether the locked file or folder is still at ``path``. Raises OSError."""
        try:
            return os.path.samestat(self._state(), path.stat())
        except (FileNotFoundError, NotADirectoryError):
            return False


def of_file(path: Path) -> Lock:
    """The lock of a file, which is created empty if it does not exist and must stay. Raises OSError."""
    if has("flock"):
        return _KernelLock(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666))
    return _DatabaseLock(path, path)


def of_folder(folder: Path) -> Lock:
    """The lock of an existing folder. Raises OSError."""
    handle = open_folder(folder) if has("flock") else None
    if handle is not None:
        return _KernelLock(handle)
    return _DatabaseLock(folder / LOCK_NAME, folder)


class _KernelLock(Lock):
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def take(self) -> bool:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True

    def close(self) -> None:
        os.close(self._handle)

    def _state(self) -> os.stat_result:
        # While the file or folder is open, no other one gets its inode number.
        return os.fstat(self._handle)


class _DatabaseLock(Lock):
    def __init__(self, path: Path, locked: Path) -> None:
        with path.open("ab"):  # SQLite's own error would not say why it cannot be written
            self._locked = locked.stat()
        # No isolation level: statements begin and end transactions. Any thread may close it.
        self._connection = sqlite3 and sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)

    def take(self) -> bool:
        if self._connection is None:
            return True
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            # All other errors are of file systems without locks.
            return error.sqlite_errorcode != sqlite3.SQLITE_BUSY
        return True

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def _state(self) -> os.stat_result:
        return self._locked
