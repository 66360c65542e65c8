"""Repeats steps whose gradients overflow fp16. The gradient scaler skips such a step and lowers its scale. The step is
then repeated with the same packed rows; the skipped one advances no counter, learning rate, data or evaluation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from midigpt_core.errors import TrainingError

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer

    from midigpt_core.training.loop.module import TrainingModule
    from midigpt_core.training.loop.repeat import StepBatches

MOST_IN_A_ROW = 20
LOWEST_SCALE = 1.0


class OverflowedSteps(Callback):
    """Repeats overflowed steps. Must come before every callback that counts steps."""

    def __init__(self, module: TrainingModule, batches: StepBatches) -> None:
        self._module = module
        self._batches = batches
        self._seen = 0

    def state_dict(self) -> dict[str, Any]:
        return {"in_a_row": self._module.overflows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._module.overflows = state_dict["in_a_row"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        # Lightning counts a step whether the scaler took it or not.
        if trainer.global_step == self._seen:
            return
        if self._module.overflowed_rows:
            self._refuse_lasting(trainer)
            _rewind(trainer)
            self._batches.repeat()
        else:
            self._module.overflows = 0
            self._batches.settle()
        self._seen = trainer.global_step

    def _refuse_lasting(self, trainer: Trainer) -> None:
        self._module.overflows += 1
        times, scale = self._module.overflows, _loss_scale(trainer)
        if times < MOST_IN_A_ROW and scale >= LOWEST_SCALE:
            return
        # Lightning's count includes the step that was skipped.
        raise TrainingError(
            f"step {trainer.global_step}: the gradients overflow fp16, {times} times one after another, down to a"
            f" loss scale of {scale:g} ({self._module.name_rows(self._module.overflowed_rows)}). The step was not"
            " taken. Resume from the last checkpoint with precision bf16 or fp32, or with a lower learning_rate."
        )


def _loss_scale(trainer: Trainer) -> float:
    scaler: Any = getattr(trainer.precision_plugin, "scaler", None)
    return float(scaler.get_scale())


def _rewind(trainer: Trainer) -> None:
    """Remove the skipped step from Lightning's counters, which schedule, validation and resuming depend on."""
    loop = trainer.fit_loop.epoch_loop
    micro_batches = trainer.accumulate_grad_batches
    batches: Any
    for batches in (loop.batch_progress.total, loop.batch_progress.current):
        batches.ready -= micro_batches
        batches.started -= micro_batches
        batches.processed -= micro_batches
        # Lightning is about to count the last one as completed.
        batches.completed -= micro_batches
    step = loop.automatic_optimization.optim_progress.optimizer.step
    for steps in (step.total, step.current, loop.scheduler_progress.total, loop.scheduler_progress.current):
        steps.ready -= 1
        steps.completed -= 1
    # The counters are back at a value at which an evaluation may have been due; it was already made.
    loop._skip_next_val = True
