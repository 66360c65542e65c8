"""Ends a run whose evaluation loss does not fall any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.callbacks import EarlyStopping

from midigpt_core import terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning.pytorch import LightningModule, Trainer

_log = terminal.logger("midigpt_core.training")


class Patience(EarlyStopping):
    """Lightning's early stopping on the evaluation loss, which a resumed run continues with its own setting."""

    def __init__(self, evaluations: int, new_evaluation: Callable[[], bool]) -> None:
        """The run ends after ``evaluations`` evaluations without a lower loss than before; NaN is not lower.

        ``new_evaluation`` returns, at the start of a resumed run, whether its losses cannot be compared with earlier
        ones.
        """
        super().__init__(
            "eval_loss", mode="min", patience=evaluations, check_finite=False, check_on_train_epoch_end=False
        )
        self._evaluations = evaluations
        self._new_evaluation = new_evaluation

    @property
    def is_exhausted(self) -> bool:
        """Whether the run ends, or has ended, because of it."""
        return bool(self.wait_count >= self._evaluations)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.patience = self._evaluations

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._new_evaluation():
            self.wait_count, self.best_score = 0, torch.tensor(torch.inf)
        if self.is_exhausted:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self.is_exhausted and trainer.global_step < trainer.max_steps and trainer.is_global_zero:
            _log.warning(
                "the run ends after step %d of %d: %d evaluations in a row had no lower loss than %.4f (patience).",
                trainer.global_step, trainer.max_steps, self.wait_count, float(self.best_score),
            )  # fmt: skip
