"""Start and setup of processes: children ignore signals that are meant for their parent and do not outlive it, and
servers return freed memory."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

from midigpt_core.system.c_library import c_function
from midigpt_core.system.signals import present

if TYPE_CHECKING:
    from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
# glibc's mallopt.
_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES = -3, 1 << 20
#: Seconds between two looks at the parent, where the kernel does not report its end.
_LOOK_S = 1.0


def start_with(command: Sequence[str], handles: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start a program that has the open files ``handles`` under the same numbers; only where there is ``fork``. Raises
    OSError."""
    return subprocess.Popen(command, pass_fds=handles, stdin=subprocess.DEVNULL)


def die_with_parent(parent: int | None = None) -> None:
    """Have this process end when the thread that made it ends, however it ends.

    Linux's kernel kills it. Elsewhere a thread of this process watches for the end of the parent *process*; on Windows
    it sees only that of a parent that started this process by :mod:`multiprocessing`.

    ``parent`` is the id of the process that started this one. Pass it if this process has done other work before the
    call, because the parent may have ended since. None: the current parent.
    """
    prctl = c_function("prctl")
    if prctl is None:
        watch = (parent, os.getppid())
        threading.Thread(target=_end_with, args=watch, name="parent watch", daemon=True).start()
        return
    parent = os.getppid() if parent is None else parent
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # If the parent ended before the call above, nothing waits for this process any more.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _end_with(parent: int | None, current: int) -> None:
    by = parent_process()
    if by is not None and parent in (None, by.pid):
        by.join()
    else:
        while os.getppid() == (current if parent is None else parent):
            time.sleep(_LOOK_S)
    os._exit(1)


def return_large_blocks() -> None:
    """Have memory of large blocks go back to the system as soon as it is freed; with glibc only.

    Else glibc keeps it for later blocks once one was freed, and a server of many threads, each of which allocates
    sequences of some megabytes, keeps twice what it needs. Does nothing if the environment sets MALLOC_MMAP_THRESHOLD_.
    """
    mallopt = None if "MALLOC_MMAP_THRESHOLD_" in os.environ else c_function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)


def leave_signals_to_parent() -> None:
    """Ignore signals that reach every process of a run at once (Ctrl-C, the end of a batch job): the parent handles
    them.

    SIGINT, SIGUSR1 and SIGHUP are ignored, and so is the first SIGTERM: the parent sends the second one, to end its
    children.
    """
    for number in present("SIGINT", "SIGUSR1", "SIGHUP", "SIGBREAK"):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _ride_out_one)


def _ride_out_one(number: int, _frame: Any) -> None:
    signal.signal(number, signal.SIG_DFL)
