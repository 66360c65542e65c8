"""What this machine has: processors, memory, shared memory, and how busy it is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from midigpt_core.system.capabilities import has

#: Where shared memory is on Linux.
SHARED_MEMORY = "/dev/shm"


def system_name() -> str:
    """``linux``, ``darwin`` or ``win32``, for people to read: :mod:`midigpt_core.system.capabilities` says what it can
    do."""
    return sys.platform


def affinity() -> int:
    """Processors that this process may run on, if only for a part of their time; all of the machine's where the system
    does not say."""
    if has("machine") and hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float:
    """How many processes were running or waiting to run in the last minute; 0 where the system does not say."""
    return os.getloadavg()[0] if has("machine") else 0.0


def memory_and_swap() -> int | None:
    """The machine's memory in bytes, with its swap where the system says how much that is; None if it is not known."""
    if not has("machine"):
        return None
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if not has("proc"):
        return memory
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # hidden
        return memory
    return memory + sum(int(line.split()[1]) << 10 for line in lines if line.startswith("SwapTotal:"))


def free_shared_memory() -> int | None:
    """Shared memory that is free, in bytes; None where the system does not say."""
    if not has("machine"):
        return None
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
