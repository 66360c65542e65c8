"""Setup of processes: children ignore signals that are meant for their parent and do not outlive it, and servers return
freed memory."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1
# glibc's mallopt.
_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES = -3, 1 << 20


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when the thread that made it ends, however it ends; on Linux only.

    ``parent`` is the id of the process that started this one. Pass it if this process has done other work before the
    call, because the parent may have ended since. None: the current parent.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # If the parent ended before the call above, nothing waits for this process any more.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def return_large_blocks() -> None:
    """Have memory of large blocks go back to the system as soon as it is freed; with glibc only.

    Else glibc keeps it for later blocks once one was freed, and a server of many threads, each of which allocates
    sequences of some megabytes, keeps twice what it needs. Does nothing if the environment sets MALLOC_MMAP_THRESHOLD_.
    """
    if not sys.platform.startswith("linux") or "MALLOC_MMAP_THRESHOLD_" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def leave_signals_to_parent() -> None:
    """Ignore signals that reach every process of a run at once (Ctrl-C, the end of a batch job): the parent handles
    them.

    SIGINT, SIGUSR1 and SIGHUP are ignored, and so is the first SIGTERM: the parent sends the second one, to end its
    children.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ride_out_one)


def _ride_out_one(number: int, _frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)
