"""An unnamed file that two processes map, in memory if the system supports that."""

from __future__ import annotations

import os
import tempfile

from midigpt_core.system.capabilities import has

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def open_shared_file(name: str) -> int:
    """The handle of a new, empty file; nothing of it is left when all who have it open are gone. ``name`` is what
    lists of open files show. Raises OSError."""
    if has("memfd"):
        handle = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        # If the other process could shrink the file, this process would die by SIGBUS.
        fcntl.fcntl(handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        return handle
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
