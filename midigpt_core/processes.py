"""Child processes: they ride out a signal that is meant for their parent, and do not outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when the thread that made it ends, however it ends; on Linux only.

    ``parent`` is the process that made it, where this one has done something else meanwhile: it may be gone already.
    None: whichever it is now.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid() if parent is None else parent
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It may have ended before the kernel was asked; then nobody waits for this process any more.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def leave_signals_to_parent() -> None:
    """Ctrl-C and the end of a batch job reach every process of a run at once, but the parent decides what follows.

    SIGINT, SIGUSR1 and SIGHUP are ignored, and so is the first SIGTERM: the second is the parent's, which ends its
    children so.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ride_out_one)


def _ride_out_one(number: int, _frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)
