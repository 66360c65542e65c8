"""Signals that ask a run to stop: noted when they come, obeyed by all ranks where a step ends.

Lightning's own handlers are kept out: under them SIGTERM ends a run with exit code 0, and two ranks of which one is
told hang in the handler's broadcast.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from lightning.pytorch import Trainer

#: SIGTERM ends a batch job, SIGINT is Ctrl-C, SIGUSR1 is what schedulers send some time before the end.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StopSignals:
    """Inside the context the first of :data:`STOPPING` is noted; the second ends the process at once."""

    def __init__(self) -> None:
        self._noted: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}
        #: The signal that the ranks have agreed to obey.
        self.agreed: signal.Signals | None = None

    def __enter__(self) -> Self:
        # Elsewhere Python allows no handlers; a thread's run ends with its process.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in STOPPING}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def flags(self) -> list[float]:
        """One number for each of :data:`STOPPING`: 1 for the signal that came to this process, else 0."""
        return [float(number is self._noted) for number in STOPPING]

    def agree(self, flags: Sequence[float]) -> None:
        """Take the sum of the ranks' :meth:`flags`: what came to one of them is obeyed by all."""
        self.agreed = next((number for number, flag in zip(STOPPING, flags, strict=True) if flag > 0), None)

    def _note(self, number: int, _frame: Any) -> None:
        if self._noted is not None:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self._noted = signal.Signals(number)


class _NoHandlers:
    """Stands in for Lightning's signal connector."""

    received_sigterm = False

    def register_signal_handlers(self) -> None:
        return

    def teardown(self) -> None:
        return


def keep_lightnings_handlers_out(trainer: Trainer) -> None:
    """Lightning would register its handlers at the start of ``fit``, over ours."""
    trainer._signal_connector = _NoHandlers()  # type: ignore[assignment]
