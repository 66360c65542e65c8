"""Whether another process is alive, or suspended."""

from __future__ import annotations

import contextlib
import os

from midigpt_core.system.capabilities import has

# Of the flags in /proc/PID/stat: the process is ending, and has closed its files.
_PF_EXITING = 0x4


def is_alive(pid: int) -> bool | None:
    """Whether there is a process with this id that has not ended; None where the system does not say.

    A process that was killed or has ended, and whose parent has not asked for its exit code yet, has ended: without its
    parent, in a container whose first process collects no orphans, that state lasts for ever. Known on Linux only.
    """
    if not has("signals"):  # Windows would take the number 0 for Ctrl-C, and send it
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    state, flags = _state(pid)
    return not (state in {"Z", "X"} or flags & _PF_EXITING)


def is_stopped(pid: int) -> bool:
    """Whether a signal, or a debugger, has suspended a process; False where the system does not say."""
    return _state(pid)[0] in {"T", "t"}


def _state(pid: int) -> tuple[str, int]:
    """A process's state, a letter, and its flags; empty and 0 if they are not known."""
    if has("proc"):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{pid}/stat", "rb") as stream:  # noqa: PTH123
            # The name, in brackets, may contain spaces and brackets.
            state, *_, flags = stream.read().decode("ascii", "replace").rpartition(")")[2].split()[:7]
            return state, int(flags)
    return "", 0
