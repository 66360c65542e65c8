"""A training run from its configuration to its bundle. Wiring only: every step is a module of its own."""

from __future__ import annotations

import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from midigpt_core.checkpoint import save_bundle
from midigpt_core.contracts import Bundle, LoggerContext, RunContext
from midigpt_core.plugins import build, current_registry
from midigpt_core.training.checkpoints import AtomicCheckpointIO, Checkpoints
from midigpt_core.training.clock import StepClock
from midigpt_core.training.data_module import RunData
from midigpt_core.training.identity import identify
from midigpt_core.training.initial import initial_model
from midigpt_core.training.logger_sink import LoggerSink
from midigpt_core.training.metrics_file import MetricsFile
from midigpt_core.training.module import TrainingModule
from midigpt_core.training.optimization import OptimizationSettings
from midigpt_core.training.precision import LIGHTNING_NAMES, usable_precision
from midigpt_core.training.prepare import prepare
from midigpt_core.training.progress import progress_sink
from midigpt_core.training.quiet import quiet_lightning
from midigpt_core.training.run_folder import describe_run, run_provenance
from midigpt_core.training.steps import StepReporter

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from midigpt_core.config import TrainConfig
    from midigpt_core.data.stream import StreamSpec
    from midigpt_core.training.corpora import Paths
    from midigpt_core.training.prepare import Plan

_log = logging.getLogger("midigpt_core.training")


@frozen(kw_only=True)
class TrainResult:
    """What a run left behind."""

    #: The last bundle, ``model_final.pt``.
    bundle: Path
    #: Optimiser steps taken in all.
    steps: int
    run_dir: Path


def train(
    config: TrainConfig,
    train_path: Paths | None = None,
    eval_path: Paths | None = None,
    *,
    resume: str | os.PathLike[str] | None = None,
) -> TrainResult:
    """Train on the shards of ``train_path``, evaluate on those of ``eval_path``.

    A path is one path, a list, or a glob; without ``train_path`` the configuration's ``train_sets`` are mixed.
    ``resume`` is ``"auto"`` or a ``step*.ckpt`` file. Raises :class:`midigpt_core.errors.MidigptError` for everything
    that a user can put right.
    """
    return fit(prepare(config, train_path, eval_path, resume=resume))


def fit(plan: Plan) -> TrainResult:
    """Carry out a plan."""
    config = plan.config
    model = initial_model(config, plan.chosen.architecture, plan.encoder.vocab_size)
    if config.compile and _compiles():
        model.compile()
    module = TrainingModule(
        model,
        _optimization(config),
        plan.encoder.vocabulary,
        identity=identify(plan, model),
        name_pieces=partial(_name_pieces, plan.training),
        loss_on=config.loss_on,
    )
    clock = StepClock()
    data = RunData(
        plan.training,
        plan.evaluation,
        batch_size=config.batch_size,
        accumulation=config.accumulation,
        eval_rows=config.eval_rows,
        num_workers=config.num_workers,
        clock=clock,
    )
    with quiet_lightning(), contextlib.closing(data):
        rank_zero_only(describe_run)(plan)
        trainer = _trainer(plan, module, clock)
        trainer.fit(module, datamodule=data, ckpt_path=plan.checkpoint)
    bundle = plan.run_dir / f"model_final{plan.chosen.bundle_suffix}"
    if trainer.is_global_zero:
        _write_bundle(plan, module, bundle)
    return TrainResult(bundle=bundle, steps=trainer.global_step, run_dir=plan.run_dir)


def _optimization(config: TrainConfig) -> OptimizationSettings:
    return OptimizationSettings(
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(config.adam_beta1, config.adam_beta2),
        scheduler=config.scheduler,
        warmup_steps=config.warmup_steps,
        max_steps=config.max_steps,
        gradient_clip=config.gradient_clip,
    )


def _trainer(plan: Plan, module: TrainingModule, clock: StepClock) -> Trainer:
    config = plan.config
    evaluates = plan.evaluation is not None
    logger: Logger | None = build(plan.chosen.logger, LoggerContext(run_dir=plan.run_dir, run_name=plan.run_name))
    if logger is not None:
        logger.log_hyperparams(config.to_dict())
    lightning_name: Any = LIGHTNING_NAMES[_precision(config)]
    return Trainer(
        max_steps=config.max_steps,
        precision=lightning_name,
        devices=config.devices,
        num_nodes=config.num_nodes,
        strategy=config.strategy,
        accumulate_grad_batches=config.accumulation,
        # Lightning counts micro-batches here. A run shorter than `eval_steps` is evaluated once, at its end.
        val_check_interval=min(config.eval_steps, config.max_steps) * config.accumulation if evaluates else None,
        check_val_every_n_epoch=None if evaluates else 1,
        limit_val_batches=None if evaluates else 0,
        num_sanity_val_steps=0,
        callbacks=_callbacks(plan, module, clock, logger),
        plugins=[AtomicCheckpointIO()],
        logger=logger or False,
        log_every_n_steps=config.log_steps,
        default_root_dir=plan.run_dir,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _callbacks(plan: Plan, module: TrainingModule, clock: StepClock, logger: Logger | None) -> list[Callback]:
    config = plan.config
    sinks = [
        MetricsFile(plan.run_dir / "metrics.jsonl"),
        progress_sink(Console(stderr=True), config.max_steps, config.log_steps),
        LoggerSink([logger] if logger else [], config.log_steps),
    ]
    checkpoints = Checkpoints(
        plan.run_dir / "checkpoints",
        save_steps=config.save_steps,
        keep=config.keep_checkpoints,
        bundle_suffix=plan.chosen.bundle_suffix,
        write_bundle=lambda path: _write_bundle(plan, module, path),
        clock=clock,
    )
    context = RunContext(run_dir=plan.run_dir, run_name=plan.run_name, config=config, encoder=plan.encoder)
    set_names = [one.name for one in plan.train_sets]
    return [StepReporter(module, sinks, clock, set_names), checkpoints, *current_registry().callbacks(context)]


def _name_pieces(spec: StreamSpec, rows: Sequence[int]) -> list[str]:
    """Where the documents of rows come from."""
    stream = spec.open()
    return [str(piece) for row in rows for piece in stream.pieces_of_row(row)]


def _compiles() -> bool:
    # On the CPU attention runs per document, at boundaries that differ from step to step: each would compile anew.
    if torch.cuda.is_available():
        return True
    _log.warning("compile is off: on the CPU, packed documents would be compiled anew at every step.")
    return False


def _precision(config: TrainConfig) -> str:
    usable = usable_precision(config.precision, gpu=torch.cuda.is_available())
    if usable != config.precision:
        _log.warning("precision is %s instead of %s: there is no GPU.", usable, config.precision)
    return usable


def _write_bundle(plan: Plan, module: TrainingModule, path: Path) -> None:
    model: Any = module.model
    evaluation = module.last_evaluation
    bundle = Bundle(
        architecture=plan.chosen.architecture.name,
        architecture_config=model.architecture_config(),
        encoder=plan.chosen.encoder.name,
        encoder_config=plan.encoder.to_config(),
        provenance=run_provenance(
            plan,
            steps=module.trainer.global_step,
            metrics={"eval_loss": evaluation.loss} if evaluation else None,
        ),
        state_dict={name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
    )
    save_bundle(bundle, path, plan.chosen.checkpoint_format.name)
