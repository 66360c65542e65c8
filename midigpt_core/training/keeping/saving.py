"""Saves a run while it trains: ``step5000.ckpt`` to continue from and ``model-step5000.pt`` to generate with."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import Callback

from midigpt_core.errors import RunStopped
from midigpt_core.training.processes.ranks import require_same_start, summed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from lightning.pytorch import LightningModule, Trainer

    from midigpt_core.training.keeping.retention import CheckpointFolder
    from midigpt_core.training.processes.clock import StepClock
    from midigpt_core.training.processes.signals import StopSignals


class Checkpoints(Callback):
    """Saves every ``save_steps`` optimiser steps, after the last one, and when the ranks have agreed to stop.

    A run that is not longer than ``save_steps`` has no checkpoint, only its bundle.

    If an evaluation is due after a step, the step is saved after the evaluation. The checkpoint then contains the loss,
    and a resumed run neither repeats nor misses an evaluation. A stop interrupts an evaluation between two batches: the
    checkpoint then has the state before it, and a resumed run starts with the evaluation, even after the last step.
    """

    def __init__(
        self,
        folder: CheckpointFolder,
        *,
        save_steps: int,
        eval_steps: int | None,
        require_there: Callable[[], None],
        write_bundle: Callable[[int], None],
        evaluation_loss: Callable[[], float],
        new_evaluation: Callable[[], bool],
        excess: Callable[[int], float],
        signals: StopSignals,
        clock: StepClock,
    ) -> None:
        """``eval_steps`` None: there are no evaluations. ``require_there`` raises if the run's folder is gone. All
        ranks call ``write_bundle``, with the step. ``evaluation_loss`` is called after an evaluation.
        ``new_evaluation`` returns, at the start of a resumed run, whether its evaluation losses cannot be compared with
        earlier ones. ``excess`` returns by how much a step is above a limit: such a step is the best one only if all
        are."""
        self._folder = folder
        self._save_steps = save_steps
        self._eval_steps = eval_steps
        self._require_there = require_there
        self._write_bundle = write_bundle
        self._evaluation_loss = evaluation_loss
        self._new_evaluation = new_evaluation
        self._excess = excess
        self._signals = signals
        self._clock = clock
        #: The last step whose saving, if due, is done.
        self._settled = 0
        #: Evaluation loss of each saved step that has one.
        self._losses: dict[int, float] = {}
        #: The best steps by earlier evaluations that later ones cannot be compared with; never removed.
        self._kept: set[int] = set()
        #: Whether the last step was saved without the evaluation after it.
        self._lacks_evaluation = False
        #: Lightning's counters between the step and its evaluation; None: no evaluation is due.
        self._before_evaluation: dict[str, Any] | None = None

    @property
    def best(self) -> int | None:
        """The saved step with the lowest evaluation loss, of those that are not above the limit if there are any."""
        return self._folder.best(self._losses, self._excess)

    @property
    def lacks_evaluation(self) -> bool:
        """Whether the current step was saved without the evaluation after it."""
        return self._lacks_evaluation

    def state_dict(self) -> dict[str, Any]:
        return {
            "losses": dict(self._losses),
            "kept": sorted(self._kept),
            "lacks_evaluation": self._lacks_evaluation,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._losses = dict(state_dict["losses"])
        self._kept = set(state_dict.get("kept", ()))
        self._lacks_evaluation = state_dict.get("lacks_evaluation", False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._lacks_evaluation and self._before_evaluation is not None:
            checkpoint["loops"]["fit_loop"] = self._before_evaluation

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        require_same_start(trainer)
        step = self._settled = trainer.global_step
        if self._new_evaluation():
            best, self._losses = self.best, {}
            if best is not None:
                self._kept.add(best)
        lacks_bundle = False
        if trainer.is_global_zero:
            self._folder.clean()
            self._folder.set_aside_after(step)
            # A run that was killed between the two writes has only the checkpoint.
            lacks_bundle = self._folder.checkpoint(step).exists() and not self._folder.bundle(step).exists()
        if trainer.strategy.broadcast(lacks_bundle):
            self._write_bundle(step)
        if trainer.is_global_zero:
            self._folder.retire(self._losses, excess=self._excess, also=self._kept)
        if self._lacks_evaluation:
            self._make_up_evaluation(trainer)
        self._signals.begin()

    def _make_up_evaluation(self, trainer: Trainer) -> None:
        if self._eval_steps is None:
            self._lacks_evaluation = False
            return
        counters = copy.deepcopy(trainer.fit_loop.state_dict())
        evaluation = trainer.fit_loop.epoch_loop.val_loop
        # Start at the first batch, whatever the checkpoint's counters are.
        evaluation.restarting = False
        trainer.validating = True
        evaluation.run()
        trainer.training = True
        trainer.fit_loop.load_state_dict(counters)
        # Save again, with the loss, so that the evaluation is not repeated.
        self._lacks_evaluation = False
        self._save(trainer, trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._signals.end()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Save here, right after a step: Lightning's progress counters are right for a clean restart."""
        step = trainer.global_step
        if step != self._settled and self._eval_steps is not None and step % self._eval_steps == 0:
            self._before_evaluation = copy.deepcopy(trainer.fit_loop.state_dict())
            return
        self._settle(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._before_evaluation is None:
            return
        self._signals.agree(summed(trainer, self._signals.flags()))
        if self._signals.agreed is not None:
            self._lacks_evaluation = True
            self._save(trainer, trainer.global_step)
            self._stop(trainer, trainer.global_step)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        self._before_evaluation = None
        if self._is_due(trainer) or self._stops(trainer) or self._lacks_evaluation:
            self._losses[step] = self._evaluation_loss()
        self._settle(trainer)

    def _settle(self, trainer: Trainer) -> None:
        step = trainer.global_step
        due = step != self._settled and self._is_due(trainer)
        self._settled = step
        stops = self._stops(trainer)
        if due or stops:
            self._save(trainer, step)
        if stops:
            self._stop(trainer, step)

    def _is_due(self, trainer: Trainer) -> bool:
        """Whether the step is saved by its number, or as the last one: a finished run that is resumed repeats none."""
        step = trainer.global_step
        is_last = step > self._save_steps and step >= trainer.max_steps
        return step % self._save_steps == 0 or is_last or trainer.should_stop

    def _stops(self, trainer: Trainer) -> bool:
        # After the last step and its evaluation, if any, the run ends by itself.
        return self._signals.agreed is not None and trainer.global_step < trainer.max_steps

    def _save(self, trainer: Trainer, step: int) -> None:
        self._require_there()
        with self._clock.paused():
            trainer.save_checkpoint(self._folder.checkpoint(step))
            self._write_bundle(step)
            if trainer.is_global_zero:
                self._folder.retire(self._losses, excess=self._excess, also=self._kept)
            # A rank that leaves may end the others: wait until rank 0 has written.
            trainer.strategy.barrier("checkpoints")

    def _stop(self, trainer: Trainer, step: int) -> NoReturn:
        signal = self._signals.agreed
        assert signal is not None
        raise RunStopped(
            f"Stopped by {signal.name} after step {step} of {trainer.max_steps}. Wrote {self._folder.checkpoint(step)};"
            " --resume auto continues from it.",
            signal,
            rank=trainer.global_rank,
        )
