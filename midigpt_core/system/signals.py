"""Signals: which there are here, their names, and how a thread learns of one at once."""

from __future__ import annotations

import faulthandler
import os
import signal
from contextlib import contextmanager, suppress

from midigpt_core.system.capabilities import has

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Exit code of a process whose time is up, without alarms; else it ends by :func:`is_alarm`'s signal.
TIME_IS_UP_EXIT = 1
#: Signals by their numbers on Linux, which corpora store: numbers differ between systems.
_LINUX = (
    *("", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL", "SIGUSR1"),
    *("SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP"),
    *("SIGTTIN", "SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR"),
    "SIGSYS",
)
_LINUX_NAMES = {**dict(enumerate(_LINUX)), 34: "SIGRTMIN", 64: "SIGRTMAX"}
_LINUX_NUMBERS = {name: number for number, name in _LINUX_NAMES.items()}
#: What Windows gives as the exit code of a process that died of the fault that is a signal elsewhere.
_FAULTS = {
    0xC0000005: "SIGSEGV",  # access violation
    0xC00000FD: "SIGSEGV",  # stack overflow
    0xC0000374: "SIGABRT",  # damaged heap
    0xC0000409: "SIGABRT",  # abort, or a check that failed
    0xC000001D: "SIGILL",
    0xC0000094: "SIGFPE",  # integer division by zero
    0xC0000006: "SIGBUS",  # a mapped file was cut or its disk failed
}
#: What a shell reports of a program whose output nobody reads any more.
BROKEN_PIPE_EXIT = 128 + _LINUX_NUMBERS["SIGPIPE"]


def present(*names: str) -> tuple[signal.Signals, ...]:
    """Those of the signals ``names`` that this system has."""
    if not has("signals"):
        names = tuple(name for name in names if name in ("SIGINT", "SIGTERM", "SIGBREAK"))
    return tuple(getattr(signal, name) for name in names if hasattr(signal, name))


def name_of(number: int) -> str:
    """The name of a signal of this system, such as ``SIGSEGV``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def to_linux(number: int) -> int:
    """Linux's number of a signal of this system; the number itself if Linux has no such signal."""
    return _LINUX_NUMBERS.get(name_of(number), number)


def linux_name(number: int) -> str | None:
    """The name of the signal with this number on Linux; None if there is none."""
    return _LINUX_NAMES.get(number) or None


def of_exit(code: int) -> int | None:
    """The signal (Linux's number) by which a process with this exit code died; None if it ended otherwise.

    ``code`` is as :class:`subprocess.Popen` gives it: minus the signal's number, or, on Windows, the fault's.
    """
    if code < 0:
        return to_linux(-code)
    return _LINUX_NUMBERS[_FAULTS[code]] if code in _FAULTS else None


def is_alarm(number: int) -> bool:
    """Whether :func:`end_unless_done` ends a process by this signal (Linux's number)."""
    return number == _LINUX_NUMBERS["SIGALRM"]


@contextmanager
def end_unless_done(seconds: float) -> Iterator[None]:
    """End this process if what is inside takes longer, whatever native code is doing; in the main thread.

    By an alarm, or with :data:`TIME_IS_UP_EXIT` by a thread of the interpreter that needs no lock.
    """
    if has("signals"):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
        signal.setitimer(signal.ITIMER_REAL, 0)
        return
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - the parser's process loads no pathlib
        # It would print where each thread is.
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        yield
        faulthandler.cancel_dump_traceback_later()


@contextmanager
def children_unnoticed() -> Iterator[None]:
    """Disable this process's handler of the signal that a child has ended, if there is such a signal. In the main
    thread."""
    number = getattr(signal, "SIGCHLD", None)
    if number is None:
        yield
        return
    before = signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        signal.signal(number, before)


def wakeup_pipe() -> tuple[int, int]:
    """A pipe for ``signal.set_wakeup_fd``: the handle to read from, and the one to write to, which does not block."""
    reading, writing = os.pipe()
    if hasattr(os, "set_blocking"):  # Windows writes with a lock of its own, and has this for pipes since Python 3.12
        os.set_blocking(writing, False)
    return reading, writing


def forget_wakeup_in_children() -> None:
    """Keep signals to a copy of this process from being written to the pipe that it shares with this process."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget_wakeup)


def _forget_wakeup() -> None:
    with suppress(ValueError):  # not the main thread
        signal.set_wakeup_fd(-1)
