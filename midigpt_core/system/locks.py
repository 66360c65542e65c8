"""Locks that end with their owner, however it dies.

Without ``flock``, SQLite locks the lock file (:mod:`midigpt_core.system.database_lock`). It does so on every system
that Python runs on.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from importlib import import_module
from typing import TYPE_CHECKING

from midigpt_core.system.capabilities import has
from midigpt_core.system.handles import open_folder

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

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
    return _database_lock(path, path)


def of_folder(folder: Path) -> Lock:
    """The lock of an existing folder. Raises OSError."""
    handle = open_folder(folder) if has("flock") else None
    if handle is not None:
        return _KernelLock(handle)
    return _database_lock(folder / LOCK_NAME, folder)


def _database_lock(path: Path, locked: Path) -> Lock:
    # Imported when needed: most systems never use SQLite.
    lock: Lock = import_module("midigpt_core.system.database_lock").DatabaseLock(path, locked)
    return lock


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
