"""What the operating system can do. Every system-specific call is behind one of these names and has a fallback.

A capability is detected by what Python offers, not by the name of the system. ``MIDIGPT_WITHOUT``, a list of names
separated by commas, or ``all``, does without some of them: so the fallbacks run, and are tested, on any system. It is
inherited by child processes. The program refuses an unknown name; docs/systems.md describes each.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "MIDIGPT_WITHOUT"
ALL = "all"


def _has_module(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


#: Each capability and whether this system has it.
_DETECTED: dict[str, Callable[[], bool]] = {
    # Locks on open files and folders, which the kernel releases when their owner dies.
    "flock": lambda: _has_module("fcntl"),
    # Folders that can be opened: to lock them, and to bring their names to the disk.
    "folders": lambda: hasattr(os, "O_DIRECTORY"),
    # Files in memory, without a name, that cannot be cut.
    "memfd": lambda: hasattr(os, "memfd_create") and _has_module("fcntl"),
    # Copies of a process, and open files that are handed to another process.
    "fork": lambda: hasattr(os, "fork"),
    # Limits of a process on its memory and its open files.
    "rlimit": lambda: _has_module("resource"),
    # Files about processes, memory and control groups.
    "proc": lambda: os.path.exists("/proc/self/stat"),  # noqa: PTH110 - the parser's process loads no pathlib
    # More signals than Ctrl-C and a request to end, alarms among them, and a way to ask whether a process is alive.
    "signals": lambda: hasattr(signal, "setitimer") and hasattr(signal, "SIGHUP"),
    # The C library of this process, called by ctypes.
    "libc": lambda: hasattr(sys, "setdlopenflags"),
    # Reads at a position, and waiting for any open file.
    "descriptors": lambda: hasattr(os, "pread"),
    # Numbers of this machine: memory, load, processors of this process, free space of a file system.
    "machine": lambda: hasattr(os, "sysconf") and hasattr(os, "statvfs"),
}
NAMES = tuple(_DETECTED)


def _asked(text: str) -> frozenset[str]:
    names = {name.strip() for name in text.split(",")} - {""}
    return frozenset(names - {ALL} | (set(NAMES) if ALL in names else set()))


_without = _asked(os.environ.get(VARIABLE, ""))


def has(name: str) -> bool:
    """Whether this system has the capability ``name`` of :data:`NAMES`, and ``MIDIGPT_WITHOUT`` does not name it."""
    return _DETECTED[name]() and name not in _without


def lacking() -> tuple[str, ...]:
    """The capabilities that this process does without."""
    return tuple(name for name in NAMES if not has(name))


def unknown() -> tuple[str, ...]:
    """The names in ``MIDIGPT_WITHOUT`` that are no capability."""
    return tuple(sorted(_without - set(NAMES)))


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Inside, this process and the processes that it starts do without the capabilities ``names``; for tests. Raises
    ValueError for an unknown name."""
    global _without  # noqa: PLW0603 - as the environment, it belongs to the process
    if wrong := set(names) - {*NAMES, ALL}:
        raise ValueError(f"no capabilities: {', '.join(sorted(wrong))}. There are {', '.join(NAMES)}")
    before, text = _without, os.environ.get(VARIABLE)
    _without = before | _asked(",".join(names))
    os.environ[VARIABLE] = ",".join(sorted(_without))
    try:
        yield
    finally:
        _without = before
        if text is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = text
