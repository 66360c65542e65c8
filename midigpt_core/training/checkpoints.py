"""Saving while a run goes: ``step5000.ckpt`` to continue from and ``model-step5000.pt`` to play with."""

from __future__ import annotations

import os
import pickle
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback

from midigpt_core.errors import CheckpointError
from midigpt_core.files import atomic_writer, remove_leftovers
from midigpt_core.training.resume import step_files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lightning.pytorch import LightningModule, Trainer

    from midigpt_core.training.clock import StepClock


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written whole or not at all and read without running what they bring."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        with atomic_writer(path) as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:
                # torch's zip writer fails again as it closes and hides why it failed first: a full disk, say.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        try:
            checkpoint: dict[str, Any] = super().load_checkpoint(os.fspath(path), map_location, weights_only=True)
        except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{path}: is damaged or no checkpoint. Resume from another one.") from error
        return checkpoint


class Checkpoints(Callback):
    """Saves every ``save_steps`` optimiser steps and keeps the last ``keep``."""

    def __init__(
        self,
        folder: Path,
        *,
        save_steps: int,
        keep: int,
        bundle_suffix: str,
        write_bundle: Callable[[Path], None],
        clock: StepClock,
    ) -> None:
        self._folder = folder
        self._save_steps = save_steps
        self._keep = keep
        self._suffix = bundle_suffix
        self._write_bundle = write_bundle
        self._clock = clock
        self._seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seen = trainer.global_step
        if trainer.is_global_zero and self._folder.is_dir():
            remove_leftovers(self._folder)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Here, where a step was just taken, Lightning's progress counters are those of a clean restart."""
        step = trainer.global_step
        if step == self._seen or step % self._save_steps:
            return
        self._seen = step
        with self._clock.paused():
            trainer.save_checkpoint(self._folder / f"step{step}.ckpt")
            if trainer.is_global_zero:
                self._write_bundle(self._bundle(step))
                self._retire()

    def _bundle(self, step: int) -> Path:
        return self._folder / f"model-step{step}{self._suffix}"

    def _retire(self) -> None:
        steps = step_files(self._folder)
        for step in list(steps)[: -self._keep]:
            steps[step].unlink(missing_ok=True)
            self._bundle(step).unlink(missing_ok=True)
