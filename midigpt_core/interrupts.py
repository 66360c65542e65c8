"""Handles signals that stop a process at once, even while the main thread is in native code for minutes.

Python runs its signal handlers in the main thread, between two bytecodes: during a long step or a wait for another
process, Ctrl-C would have no effect. The system's own handler writes each signal's number to a pipe, and a thread reads
it.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from midigpt_core.system.signals import forget_wakeup_in_children, present, wakeup_pipe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType, TracebackType
    from typing import Self

#: Seconds within which the same signal may arrive twice: from the terminal and from the process that started this one.
_ONE_REQUEST_S = 0.25
#: Seconds that an exception in the main thread has to end the work before the thread ends the process.
GRACE_S = 1.0
_DONE = 0
_HANGING_UP = present("SIGHUP")


class Interrupts:
    """Within the context, the first of the signals ``numbers`` calls ``first`` in a separate thread; the second ends
    the process at once, by that signal.

    SIGHUP never counts as the second: a closing terminal sends several, and they do not mean that the user insists.
    ``in_main`` is what the main thread does with each signal once it can; it may raise. Outside the main thread, where
    Python allows no handlers, the context does nothing.
    """

    def __init__(
        self,
        numbers: Sequence[signal.Signals],
        first: Callable[[signal.Signals], None],
        in_main: Callable[[int, FrameType | None], Any] | None = None,
        *,
        ending: Callable[[], Callable[[int], None]],
    ) -> None:
        """``ending`` gives :func:`midigpt_core.system.ending.end_by`; it is called when the first signal arrives, so
        a process that gets no signal does not load it."""
        self._numbers = numbers
        self._first = first
        self._in_main = in_main or _nothing
        self._ending = ending
        self._before: dict[signal.Signals, Any] = {}
        self._left = threading.Event()
        self._thread: threading.Thread | None = None
        self._answering: threading.Thread | None = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._left.clear()
            reading, self._writing = wakeup_pipe()
            self._thread = threading.Thread(target=self._listen, args=(reading,), name="interrupts", daemon=True)
            self._thread.start()
            self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            for number in self._numbers:
                # nohup: the process was started to outlive the terminal.
                if number not in _HANGING_UP or signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._in_main)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        self._left.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        signal.set_wakeup_fd(self._wakeup_before)
        os.write(self._writing, bytes([_DONE]))
        self._thread.join()
        self._thread = None
        os.close(self._writing)
        if self._answering is not None:
            # Print its output before later output. Do not wait forever: the terminal may be blocked.
            self._answering.join(GRACE_S)
            self._answering = None

    def left_within(self, seconds: float) -> bool:
        """Whether the context ends within ``seconds``; for ``first``, which runs at the same time."""
        return self._left.wait(seconds)

    def _listen(self, reading: int) -> None:
        heard_at: float | None = None
        end_by: Callable[[int], None] = _nothing
        with open(reading, "rb", buffering=0) as stream:
            while (byte := stream.read(1)) != bytes([_DONE]):
                number = next((number for number in self._numbers if bytes([number]) == byte), None)
                if number is None:  # SIGCHLD, say
                    continue
                if heard_at is None:
                    heard_at = time.monotonic()
                    self._answering = threading.Thread(
                        target=self._first, args=(number,), name="interrupted", daemon=True
                    )
                    self._answering.start()
                    end_by = self._ending()
                elif number not in _HANGING_UP and time.monotonic() - heard_at > _ONE_REQUEST_S:
                    end_by(number)


def _nothing(_number: int, _frame: FrameType | None = None) -> None:
    """Do nothing: Python writes to the pipe only if a handler is installed."""


forget_wakeup_in_children()
