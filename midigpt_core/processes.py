"""Setup of child processes: they ignore signals that are meant for their parent, and do not outlive it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1


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
