"""Signals that ask a run to stop: answered when they come, obeyed by all ranks where a step ends.

Lightning's own handlers are kept out: under them SIGTERM ends a run with exit code 0, and two ranks of which one is
told hang in the handler's broadcast.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from midigpt_core.ending import end_by
from midigpt_core.errors import RunStopped
from midigpt_core.interrupts import GRACE_S, Interrupts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from lightning.pytorch import Trainer

#: SIGTERM ends a batch job, SIGINT is Ctrl-C, SIGUSR1 is what schedulers send some time before the end, SIGHUP comes
#: when the terminal closes.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class _StoppedEarly(BaseException):
    """Out of everything, before the first step: no handler of exceptions on the way may take it for its own."""


class StopSignals:
    """Inside the context the first of :data:`STOPPING` is noted and answered; the second ends the process at once.

    Until :meth:`begin` there is no step to finish and nothing to save: the first ends the run, and where that takes
    longer than a moment, as in waiting for another rank, the process.
    """

    def __init__(self, say: Callable[[str], None] | None = None, *, rank: int = 0) -> None:
        """``say`` takes the answer, from another thread; None: this process is not the one that answers."""
        self._say = say
        self._rank = rank
        self._noted: signal.Signals | None = None
        self._is_stopping = False
        self._interrupts = Interrupts(STOPPING, self._note, self._end_early, ending=lambda: end_by)
        #: What is said to the first signal; None before the first step.
        self._answer: str | None = None
        #: The signal that the ranks have agreed to obey.
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
        """From now on there are steps: what comes is obeyed where one ends."""
        self._answer = "Stopping after this step; again to stop now."

    def end(self) -> None:
        """The last step is done: what comes now is too late."""
        self._answer = "The run has had its steps and is ending; again to stop now."

    def flags(self) -> list[float]:
        """One number for each of :data:`STOPPING`: 1 for the signal that came to this process, else 0."""
        return [float(number is self._noted) for number in STOPPING]

    def agree(self, flags: Sequence[float]) -> None:
        """Take the sum of the ranks' :meth:`flags`: what came to one of them is obeyed by all."""
        self.agreed = next((number for number, flag in zip(STOPPING, flags, strict=True) if flag > 0), None)

    def _note(self, number: signal.Signals) -> None:
        """In a thread, at once."""
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
        """In the main thread, once it can: there, what a step's end obeys is what came before it."""
        is_first, self._noted = not self._is_stopping, self._noted or signal.Signals(number)
        self._is_stopping = True
        if is_first and self._answer is None:
            raise _StoppedEarly(number)


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
