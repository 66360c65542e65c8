"""What callbacks that measure the model of a run need from the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midigpt_core.contracts import Bundle
    from midigpt_core.training.loop.module import TrainingModule
    from midigpt_core.training.processes.clock import StepClock
    from midigpt_core.training.processes.signals import StopSignals
    from midigpt_core.training.reporting.steps import StepSink


@frozen(eq=False, kw_only=True)
class MeasuredRun:
    """A run while it trains."""

    #: Gets figures for its bundles.
    module: TrainingModule
    #: The current weights on rank 0, None on the others. All ranks must call it.
    bundle: Callable[[], Bundle | None]
    #: Get figures on rank 0.
    sinks: Sequence[StepSink]
    signals: StopSignals
    clock: StepClock

    def is_to_stop(self) -> bool:
        """Whether this process got a signal that stops the run: a measurement ends without figures."""
        return any(self.signals.flags())
