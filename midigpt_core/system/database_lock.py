"""Locks by SQLite: an exclusive transaction on an empty database in the lock file.

Where SQLite locks by POSIX's record locks, a process loses all its locks on a file as soon as it closes any handle of
that file. SQLite keeps its handles open while one of its connections has a lock, so nothing else may open the file.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from midigpt_core.system.locks import Lock

try:
    import sqlite3
except ImportError:  # a Python that was built without it
    sqlite3 = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path

_creating = threading.Lock()


class DatabaseLock(Lock):
    """The lock of ``locked``, a file or a folder; ``path`` is the lock file, which is created empty if it is missing.

    Raises OSError.
    """

    def __init__(self, path: Path, locked: Path) -> None:
        _require_file(path)
        self._locked = locked.stat()
        self._connection = sqlite3 and _connect(path)

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


def _require_file(path: Path) -> None:
    """Create the lock file, unless it exists; raises OSError if it cannot be written. SQLite's own errors would not say
    why, and it would create a file that the user's group cannot write."""
    # Another thread waits until the new file is closed: closing it would release that thread's lock.
    with _creating, suppress(FileExistsError):
        path.open("xb").close()
    if path.is_dir() or not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        path.open("ab").close()  # raises the reason; a file that this process has locked can be written


def _connect(path: Path) -> sqlite3.Connection:
    try:
        # No isolation level: statements begin and end transactions. Any thread may close it.
        return sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except sqlite3.OperationalError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
