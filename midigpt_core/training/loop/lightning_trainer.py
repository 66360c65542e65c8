"""Lightning's trainer, set up from the configuration, without the features that midigpt-core implements itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.loops.fit_loop import _FitLoop as FitLoop

from midigpt_core.errors import ConfigError
from midigpt_core.training.keeping.checkpoints import AtomicCheckpointIO
from midigpt_core.training.loop.fsdp import lightning_strategy
from midigpt_core.training.loop.precision import LIGHTNING_NAMES
from midigpt_core.training.processes.signals import keep_lightnings_handlers_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from midigpt_core.training.planning.prepare import Plan


def eval_steps(plan: Plan) -> int | None:
    """Optimiser steps between evaluations; a run shorter than that is evaluated once, at its end."""
    return None if plan.evaluation is None else min(plan.config.eval_steps, plan.config.max_steps)


class _FitLoop(FitLoop):
    """A fit loop that also starts if all steps are done but the evaluation after the last one is missing."""

    def __init__(self, loop: FitLoop, lacks_evaluation: Callable[[], bool]) -> None:
        super().__init__(loop.trainer, min_epochs=loop.min_epochs, max_epochs=loop.max_epochs)
        self.epoch_loop = loop.epoch_loop
        self._lacks_evaluation = lacks_evaluation

    @property
    def skip(self) -> bool:
        return super().skip and not self._lacks_evaluation()


def lightning_trainer(
    plan: Plan, precision: str, callbacks: list[Callback], logger: Logger | None, lacks_evaluation: Callable[[], bool]
) -> Trainer:
    """Build the trainer. ``lacks_evaluation`` returns whether the last step of the checkpoint, once read, still has to
    be evaluated."""
    config = plan.config
    evaluated_every = eval_steps(plan)
    if logger is not None:
        logger.log_hyperparams(config.to_dict())
    lightning_name: Any = LIGHTNING_NAMES[precision]
    trainer = _built_trainer(
        max_steps=config.max_steps,
        precision=lightning_name,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=lightning_strategy(config, precision),
        accumulate_grad_batches=config.accumulation,
        # Lightning counts micro-batches here.
        val_check_interval=evaluated_every * config.accumulation if evaluated_every else None,
        check_val_every_n_epoch=None if evaluated_every else 1,
        limit_val_batches=None if evaluated_every else 0,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=logger or False,
        log_every_n_steps=config.log_steps,
        default_root_dir=plan.run_dir,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    keep_lightnings_handlers_out(trainer)
    trainer.fit_loop = _FitLoop(trainer.fit_loop, lacks_evaluation)
    return trainer


def _built_trainer(**settings: Any) -> Trainer:
    try:
        return Trainer(**settings)
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        # For example, missing devices, or contradicting variables of a launcher.
        raise ConfigError(f"devices, num_nodes, strategy: {str(error).strip().splitlines()[0]}") from error
