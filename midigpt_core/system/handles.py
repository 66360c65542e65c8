"""Open files and folders: how they are opened, read, renamed and brought to the disk."""

from __future__ import annotations

import os
import select
import threading
import time
from typing import TYPE_CHECKING

from midigpt_core.system.capabilities import has

if TYPE_CHECKING:
    from pathlib import Path

#: Flags of ``os.open`` for reading bytes. Where a file may be a pipe, opening it does not wait for a writer.
READING = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
#: Seconds between two looks at something that the system does not report.
_LOOK_S = 0.01
#: Seconds within which virus scanners and indexers close a file that they have opened.
_SCANNED_S = 2.0
_one_reader = threading.Lock()


def open_folder(folder: Path) -> int | None:
    """A handle of a folder, to be closed; None if this system opens no folders. Raises OSError."""
    if not has("folders"):
        return None
    return os.open(folder, os.O_RDONLY | os.O_CLOEXEC)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Where folders cannot be opened, that is left to the file system. Raises
    OSError."""
    handle = open_folder(folder)
    if handle is not None:
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def replace(source: Path, target: Path) -> None:
    """Rename a file, which is closed; it replaces ``target``. Raises OSError."""
    deadline = time.monotonic() + (0 if has("folders") else _SCANNED_S)
    while True:
        try:
            source.replace(target)
            return
        except PermissionError:
            # Systems without handles of folders do not replace a file while another process has it open.
            if time.monotonic() >= deadline:
                raise
        time.sleep(_LOOK_S)


def replace_folder(source: Path, target: Path) -> None:
    """Rename a folder; it replaces ``target`` if that is an empty folder. Raises OSError."""
    if not has("folders") and target.exists():
        target.rmdir()
    replace(source, target)


def read_at(handle: int, count: int, position: int) -> bytes:
    """At most ``count`` bytes of an open file from ``position`` on. Any number of threads may read. Raises OSError."""
    if has("descriptors"):
        return os.pread(handle, count, position)
    with _one_reader:  # of all files, because handles are numbers that the system uses again
        os.lseek(handle, position, os.SEEK_SET)
        return os.read(handle, count)


def wait_until_writable(handle: int) -> None:
    """Wait until an open file that does not block takes more bytes, or for a moment."""
    if has("descriptors"):
        select.select([], [handle], [])
    else:
        time.sleep(_LOOK_S)
