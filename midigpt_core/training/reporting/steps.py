"""Records of optimiser steps, and the sinks that receive them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen
from lightning.pytorch.callbacks import Callback

from midigpt_core.training.reporting.flops import peak_flops

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from lightning.pytorch import LightningModule, Trainer

    from midigpt_core.music.measuring import MusicReport
    from midigpt_core.training.loop.losses import EvaluationReport
    from midigpt_core.training.loop.module import TrainingModule
    from midigpt_core.training.processes.clock import StepClock
    from midigpt_core.training.reporting.copy_rates import CopyReport
    from midigpt_core.training.reporting.flops import ModelFlops


@frozen(kw_only=True)
class StepRecord:
    """One optimiser step, over all its micro-batches and ranks."""

    #: Counted from 1.
    step: int
    #: Mean over the predicted tokens, in nats.
    loss: float
    learning_rate: float
    #: Before clipping.
    gradient_norm: float
    #: Tokens in the packed rows, and how many of them count in the loss.
    tokens: int
    predicted: int
    #: Share of the positions that contain no token.
    padding: float
    #: How often the step overflowed fp16, and was repeated, before it was taken.
    overflows: int = 0
    #: Wall time without validation and saving, and how much of it was spent waiting for data, in seconds.
    seconds: float
    data_wait: float
    #: Model FLOPs utilisation (:class:`midigpt_core.training.reporting.flops.ModelFlops`): share of the devices' peak;
    #: None if their peak is unknown.
    flops_utilisation: float | None = None
    #: Tokens in the packed rows by training set; empty if the run has no sets.
    tokens_by_set: Mapping[str, int] = field(factory=dict)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds if self.seconds > 0 else 0.0


class StepSink(Protocol):
    """Receives the steps and evaluations of a run. Only rank 0 calls it."""

    def begin(self, first_step: int) -> None:
        """Called when the run starts or resumes after ``first_step`` steps."""

    def step(self, record: StepRecord) -> None: ...

    def evaluation(self, step: int, report: EvaluationReport) -> None: ...

    def music(self, step: int, report: MusicReport) -> None: ...

    def copies(self, step: int, report: CopyReport) -> None: ...

    def end(self) -> None:
        """Called when the run ended, with or without an error, even if :meth:`begin` was not called."""


class StepReporter(Callback):
    """Passes every optimiser step and every evaluation to the sinks."""

    def __init__(
        self,
        module: TrainingModule,
        sinks: Sequence[StepSink],
        clock: StepClock,
        *,
        flops: ModelFlops,
        precision: str,
        set_names: Sequence[str] = (),
    ) -> None:
        self._set_names = set_names
        self._module = module
        self._sinks = sinks
        self._clock = clock
        self._flops = flops
        self._precision = precision
        #: The peak of all devices together, in FLOP/s; None: not known.
        self._peak: float | None = None
        self._seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = trainer.global_step
        for sink in self._told(trainer):
            sink.begin(trainer.global_step)
        peak = peak_flops(pl_module.device, self._precision)
        self._peak = peak * trainer.world_size if peak is not None else None
        self._clock.restart()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        taken = self._module.last_step
        if taken is None or trainer.global_step == self._seen:
            return
        self._seen = trainer.global_step
        seconds, waited = self._clock.lap()
        tokens = taken.positions - taken.padding
        record = StepRecord(
            step=trainer.global_step,
            loss=taken.loss,
            learning_rate=taken.learning_rate,
            gradient_norm=taken.gradient_norm,
            tokens=tokens,
            predicted=taken.predicted,
            padding=taken.padding / taken.positions,
            overflows=taken.overflows,
            seconds=seconds,
            data_wait=waited,
            flops_utilisation=self._flops.of(tokens, taken.pairs) / seconds / self._peak if self._peak else None,
            # Without sets, all tokens belong to one set without a name.
            tokens_by_set=dict(zip(self._set_names, taken.tokens_by_set, strict=False)),
        )
        for sink in self._told(trainer):
            sink.step(record)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clock.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        report = self._module.last_evaluation
        if report is not None:
            for sink in self._told(trainer):
                sink.evaluation(trainer.global_step, report)
        self._clock.resume()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._end(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._end(trainer)

    def _end(self, trainer: Trainer) -> None:
        for sink in self._told(trainer):
            sink.end()

    def _told(self, trainer: Trainer) -> Sequence[StepSink]:
        return self._sinks if trainer.is_global_zero else ()
