"""Signals that stop a run: acknowledged at once; all ranks stop together at the end of the step.

Lightning's own handlers are not used. With them, SIGTERM ends a run with exit code 0, and if only one of two ranks gets
the signal, both hang in the handler's broadcast.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from midigpt_core.errors import RunStopped
from midigpt_core.interrupts import GRACE_S, Interrupts
from midigpt_core.system.ending import end_by
from midigpt_core.system.signals import present

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from lightning.pytorch import Trainer

#: SIGTERM ends a batch job, SIGINT is Ctrl-C, schedulers send SIGUSR1 some time before the end, and SIGHUP means that
#: the terminal was closed. Windows sends SIGBREAK instead of the last one.
STOPPING = present("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP", "SIGBREAK")


class _StoppedEarly(BaseException):
    """Ends the run before the first step. Not an Exception, so that no handler on the way catches it."""


class StopSignals:
    """Inside the context, the first signal of :data:`STOPPING` is recorded and acknowledged; the second ends the
    process at once.

    Before :meth:`begin` there is no step to finish and nothing to save: the first signal ends the run, or the process
    if that takes longer than a moment, for example while it waits for another rank.
    """

    def __init__(self, say: Callable[[str], None] | None = None, *, rank: int = 0) -> None:
        """``say`` prints the acknowledgement, from another thread; None: this process prints nothing."""
        self._say = say
        self._rank = rank
        self._noted: signal.Signals | None = None
        self._is_stopping = False
        self._interrupts = Interrupts(STOPPING, self._note, self._end_early, ending=lambda: end_by)
        #: The acknowledgement of the first signal; None before the first step.
        self._answer: str | None = None
        #: The signal on which the ranks have agreed to stop.
        self.agreed: signal.Signals | None = None

    def __enter__(self) -> Self:
        self._interrupts.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interrupts.__exit__(kind, error, trace)
        if isinstance(error, _StoppedEarly):
            number = signal.Signals(error.args[0])
            raise RunStopped(
                f"Stopped by {number.name} before a step was taken. The same command starts again.",
                number,
                rank=self._rank,
            ) from None

    def begin(self) -> None:
        """Steps begin: from now on a signal stops the run at the end of a step."""
        self._answer = "Stopping after this step. Send the signal again to stop now."

    def end(self) -> None:
        """The last step is done: a signal now comes too late."""
        self._answer = "All steps are done and the run is ending. Send the signal again to stop now."

    def flags(self) -> list[float]:
        """One number for each of :data:`STOPPING`: 1 for the signal that came to this process, else 0."""
        return [float(number is self._noted) for number in STOPPING]

    def agree(self, flags: Sequence[float]) -> None:
        """Set ``agreed`` from the sum of the ranks' :meth:`flags`: a signal to one rank stops all."""
        self.agreed = next((number for number, flag in zip(STOPPING, flags, strict=True) if flag > 0), None)

    def _note(self, number: signal.Signals) -> None:
        """Called at once, in a thread."""
        self._noted = self._noted or number
        if self._answer is not None:
            self._tell(self._answer)
        elif not self._interrupts.left_within(GRACE_S):
            self._tell(f"Stopped by {number.name} before a step was taken. The same command starts again.")
            end_by(number)

    def _tell(self, answer: str) -> None:
        if self._say is not None:
            self._say(answer)

    def _end_early(self, number: int, _frame: Any) -> None:
        """Called in the main thread as soon as possible, so that a step's end sees every signal before it."""
        is_first, self._noted = not self._is_stopping, self._noted or signal.Signals(number)
        self._is_stopping = True
        if is_first and self._answer is None:
            raise _StoppedEarly(number)


class _NoHandlers:
    """Replaces Lightning's signal connector and registers nothing."""

    received_sigterm = False

    def register_signal_handlers(self) -> None:
        return

    def teardown(self) -> None:
        return


def keep_lightnings_handlers_out(trainer: Trainer) -> None:
    """Stop Lightning from replacing our handlers with its own at the start of ``fit``."""
    trainer._signal_connector = _NoHandlers()  # type: ignore[assignment]
