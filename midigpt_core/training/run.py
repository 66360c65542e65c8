"""A training run from its configuration to its bundle. This module only connects the parts; each has its own module."""

from __future__ import annotations

import contextlib
import math
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from attrs import evolve, frozen
from lightning.pytorch.callbacks import LambdaCallback
from rich.console import Console

from midigpt_core import terminal
from midigpt_core.checkpoint import read_header, save_bundle
from midigpt_core.checkpoint.adapter_files import NAME as ADAPTER
from midigpt_core.checkpoint.adapters import StoredAdapter, base_record, component_name, save_adapter
from midigpt_core.checkpoint.assemble import require_restorable
from midigpt_core.contracts import Bundle, LoggerContext, RunContext
from midigpt_core.errors import CheckpointError
from midigpt_core.files import remove_leftovers
from midigpt_core.plugins import build, current_registry
from midigpt_core.plugins.faults import faults_named
from midigpt_core.system.processes import die_with_parent
from midigpt_core.training.dry_run import require_memory
from midigpt_core.training.keeping.checkpoints import first_whole, saved_identity
from midigpt_core.training.keeping.identity import as_begun, identify
from midigpt_core.training.keeping.retention import CheckpointFolder
from midigpt_core.training.keeping.run_folder import HeldFolder, describe_run, run_provenance
from midigpt_core.training.keeping.saving import Checkpoints
from midigpt_core.training.loop.data_module import RunData
from midigpt_core.training.loop.fsdp import gathered_weights
from midigpt_core.training.loop.initial import beginning
from midigpt_core.training.loop.lightning_trainer import eval_steps, lightning_trainer
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.loop.optimization import optimization
from midigpt_core.training.loop.overflow import OverflowedSteps
from midigpt_core.training.loop.patience import Patience
from midigpt_core.training.loop.precision import usable_precision
from midigpt_core.training.loop.repeat import StepBatches
from midigpt_core.training.planning.launch import be_found_by_children, is_first
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.planning.resume import last_checkpoint_named
from midigpt_core.training.processes.clock import StepClock
from midigpt_core.training.processes.lost_ranks import named_lost_ranks
from midigpt_core.training.processes.memory import explained_memory
from midigpt_core.training.processes.quiet import quiet_lightning
from midigpt_core.training.processes.rendezvous import Rendezvous
from midigpt_core.training.processes.signals import StopSignals
from midigpt_core.training.processes.threads import warn_of_spinning_threads
from midigpt_core.training.reporting import metrics_file
from midigpt_core.training.reporting.copy_guard import CopyGuard, Watched
from midigpt_core.training.reporting.flops import ModelFlops
from midigpt_core.training.reporting.logger_sink import LoggerSink
from midigpt_core.training.reporting.measured_run import MeasuredRun
from midigpt_core.training.reporting.metrics_file import MetricsFile
from midigpt_core.training.reporting.music import MusicMeasurer
from midigpt_core.training.reporting.progress import Forecast, progress_sink
from midigpt_core.training.reporting.samples import SampleAudio, SampleWriter, draw_prompts
from midigpt_core.training.reporting.steps import StepReporter
from midigpt_core.training.reporting.training_bars import TrainingBars

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import Logger

    from midigpt_core.config import TrainConfig
    from midigpt_core.data.stream import StreamSpec
    from midigpt_core.training.planning.corpora import Paths
    from midigpt_core.training.planning.prepare import Plan
    from midigpt_core.training.reporting.copy_rates import CopyReport
    from midigpt_core.training.reporting.steps import StepSink

_log = terminal.logger("midigpt_core.training")


@frozen(kw_only=True)
class TrainResult:
    """The result of a run."""

    #: The last bundle, ``model_final.pt``, and the bundle of the saved step with the lowest evaluation loss, of those
    #: that do not copy more than ``copy_limit`` allows if there are any; None if no saved step was evaluated.
    bundle: Path
    best_bundle: Path | None
    #: The copy rates of ``best_bundle``, or else those of ``bundle``; None: they were not measured.
    copies: CopyReport | None
    #: Total number of optimiser steps.
    steps: int
    #: How many of these had been taken before this call, in the run that it resumed.
    steps_before: int
    #: Whether it ended before ``max_steps``, because its evaluation loss did not fall any more (``patience``).
    ended_early: bool
    run_dir: Path
    #: Rank of this process in the run, from 0; rank 0 writes the files.
    rank: int


def train(
    config: TrainConfig,
    train_path: Paths | None = None,
    eval_path: Paths | None = None,
    *,
    resume: str | os.PathLike[str] | None = None,
    accept_new_data: bool = False,
) -> TrainResult:
    """Train on the shards of ``train_path``, evaluate on those of ``eval_path``.

    Each is a path, a list of paths, or a glob; without ``train_path`` the configuration's ``train_sets`` are mixed.
    ``resume`` is ``"auto"`` or a ``step*.ckpt`` file; ``accept_new_data`` allows a corpus that differs from the
    checkpoint's. Raises :class:`midigpt_core.errors.MidigptError` for every error that the user can fix, and
    :class:`midigpt_core.errors.RunStopped` after the run stopped on SIGTERM, SIGINT, SIGUSR1 or SIGHUP.
    """
    return fit(prepare(config, train_path, eval_path, resume=resume, accept_new_data=accept_new_data))


def fit(plan: Plan, *, callbacks: Sequence[Callback] = ()) -> TrainResult:
    """Train as planned; ``callbacks`` take part in the run, after the plugins'."""
    with faults_named(plan.chosen.all, lambda: "in this run"):
        return _fit(plan, callbacks)


def _fit(plan: Plan, callbacks: Sequence[Callback]) -> TrainResult:
    checkpoint = first_whole(plan.resume_from)
    if checkpoint is not None:
        plan = as_begun(plan, saved_identity(checkpoint))
    config = plan.config
    require_memory(plan)
    warn_of_spinning_threads()
    begun = beginning(plan)
    model, adapted = begun.model, begun.adapted
    if plan.base is not None:
        plan = evolve(plan, base=evolve(plan.base, weights=begun.base_weights))
    untyped: Any = model
    require_restorable(
        plan.chosen.architecture, untyped.architecture_config(), plan.chosen.encoder, plan.encoder.to_config()
    )
    if config.compile and _compiles():
        model.compile()
    precision = _precision(config)
    console = Console(stderr=True)
    clock = StepClock()
    say = partial(_say, console)
    signals = StopSignals(say if is_first() else None, rank=0 if is_first() else 1)
    rendezvous = Rendezvous(say)
    # Only fp16 has steps that are repeated.
    repeated = StepBatches() if precision == "fp16" else None
    module = TrainingModule(
        model,
        optimization(config, plan.chosen.optimizer),
        plan.encoder.vocabulary,
        identity=identify(
            plan,
            model,
            precision,
            adapter=None if adapted is None else adapted.describe(),
            base_weights=begun.base_weights,
        ),
        name_pieces=partial(_name_pieces, plan.training),
        loss_on=config.loss_on,
        signals=signals,
        accept_new_data=plan.accept_new_data,
        adapted=adapted,
        architecture=str(plan.chosen.architecture),
        seed=config.seed,
    )
    data = RunData(
        plan.training,
        plan.evaluation,
        batch_size=config.batch_size,
        accumulation=config.accumulation,
        eval_rows=config.eval_rows,
        num_workers=config.num_workers,
        clock=clock,
        repeated=repeated,
    )
    run_folder = HeldFolder(plan.run_dir)
    folder = CheckpointFolder(
        plan.run_dir / "checkpoints", keep=config.keep_checkpoints, bundle_suffix=plan.chosen.bundle_suffix
    )
    logger: Logger | None = build(
        plan.chosen.logger,
        LoggerContext(run_dir=plan.run_dir, run_name=plan.run_name, continues=checkpoint is not None),
    )
    sinks = _sinks(plan, logger, console, run_folder)
    measured = MeasuredRun(
        module=module, bundle=partial(_bundle, plan, module), sinks=sinks, signals=signals, clock=clock
    )
    guards = _copy_guard(plan, measured)
    patience = [Patience(config.patience, lambda: module.has_new_evaluation)] if config.patience else []
    checkpoints = Checkpoints(
        folder,
        save_steps=config.save_steps,
        eval_steps=eval_steps(plan),
        require_there=run_folder.require_there,
        write_bundle=lambda step: _write_bundle(plan, module, folder.bundle(step), folder.adapter(step)),
        new_evaluation=lambda: module.has_new_evaluation,
        excess=lambda step: max((guard.excess(step) for guard in guards), default=0.0),
        evaluation_loss=lambda: module.last_evaluation.loss if module.last_evaluation else math.nan,
        signals=signals,
        clock=clock,
    )
    taking_part = [
        rendezvous,
        _description(plan),
        *([OverflowedSteps(module, repeated)] if repeated is not None else []),
        StepReporter(
            module,
            sinks,
            clock,
            flops=ModelFlops.of_model(model),
            precision=precision,
            set_names=[one.name for one in plan.train_sets],
        ),
        *_music_measurer(plan, measured),
        *guards,
        *patience,
        checkpoints,
        *_sample_writer(plan, measured, logger),
        *_third_party_callbacks(plan),
        *callbacks,
    ]
    bundle = plan.run_dir / f"model_final{plan.chosen.bundle_suffix}"
    with quiet_lightning(), contextlib.closing(data), signals, contextlib.ExitStack() as held:
        trainer = lightning_trainer(plan, precision, taking_part, logger, lambda: checkpoints.lacks_evaluation)
        if trainer.local_rank > 0:
            die_with_parent()
        elif "LOCAL_RANK" not in os.environ:
            be_found_by_children()
        if trainer.is_global_zero:
            held.enter_context(run_folder.held())
            remove_leftovers(plan.run_dir)
        held.enter_context(last_checkpoint_named(folder.path))
        with (
            faults_named(plan.chosen.all, lambda: f"step {trainer.global_step + 1}"),
            explained_memory(config, lambda: trainer.global_step),
            named_lost_ranks(trainer, config.collective_timeout, lambda: trainer.global_step, say),
            rendezvous.awaited(trainer),
        ):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
        # A finished run already has its bundle, with an evaluation that this call did not make: keep it. A run that was
        # stopped after its last step has no bundle, or the bundle of the shorter run that it continues.
        is_there = bool(trainer.strategy.broadcast(_is_of_step(bundle, trainer.global_step)))
        run_folder.require_there()
        if trainer.global_step > module.steps_before or not is_there:
            _write_bundle(plan, module, bundle, plan.run_dir / ADAPTER)
    best = checkpoints.best
    return TrainResult(
        bundle=bundle,
        best_bundle=folder.bundle(best) if best is not None else None,
        copies=next((guard.report(trainer.global_step if best is None else best) for guard in guards), None),
        ended_early=trainer.global_step < config.max_steps and any(one.is_exhausted for one in patience),
        steps=trainer.global_step,
        steps_before=module.steps_before,
        run_dir=plan.run_dir,
        rank=trainer.global_rank,
    )


def _description(plan: Plan) -> Callback:
    """Describes the run once the checkpoint is accepted. A rejected run must not overwrite the previous description."""

    def describe(trainer: Trainer, _module: object) -> None:
        if trainer.is_global_zero:
            describe_run(plan)

    return LambdaCallback(on_train_start=describe)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _sinks(plan: Plan, logger: Logger | None, console: Console, run_folder: HeldFolder) -> list[StepSink]:
    config = plan.config
    # The default of max_steps is meant for a GPU.
    is_long = config.origins["max_steps"] == "default" and not torch.cuda.is_available()
    return [
        MetricsFile(plan.run_dir / metrics_file.NAME, run_folder.require_there),
        *([Forecast(console, config.max_steps)] if is_long else []),
        progress_sink(console, config.max_steps, config.log_steps),
        LoggerSink([logger] if logger else [], config.log_steps),
    ]


def _sample_writer(plan: Plan, measured: MeasuredRun, logger: Logger | None) -> list[Callback]:
    if not plan.config.sample_steps:
        return []
    writer = SampleWriter(
        plan.run_dir / "samples",
        measured,
        every=plan.config.sample_steps,
        prompts=partial(draw_prompts, plan.evaluation or plan.training, plan.encoder),
        audio=_sample_audio(plan),
        logger=logger,
    )
    return [writer]


def _sample_audio(plan: Plan) -> SampleAudio | None:
    form = plan.config.sample_audio
    return None if plan.bank is None or form == "none" else SampleAudio(bank=plan.bank, form=form)


def _music_measurer(plan: Plan, measured: MeasuredRun) -> list[MusicMeasurer]:
    evaluated_every = eval_steps(plan)
    if not plan.config.music or plan.evaluation is None or evaluated_every is None:
        return []
    measurer = MusicMeasurer(
        measured,
        every=plan.config.music,
        eval_steps=evaluated_every,
        max_steps=plan.config.max_steps,
        metrics=plan.metrics,
        excerpts=plan.config.music_pieces,
        evaluation=plan.evaluation,
        training_bars=_training_bars(plan),
    )
    return [measurer]


def _training_bars(plan: Plan) -> TrainingBars:
    return TrainingBars(
        training=plan.training,
        corpus=plan.train_pieces.fingerprint,
        sample=plan.config.music_copy_sample,
        folder=plan.run_dir,
    )


def _copy_guard(plan: Plan, measured: MeasuredRun) -> list[CopyGuard]:
    evaluated_every = eval_steps(plan)
    metric, evaluated = plan.copy_metric, plan.eval_pieces
    if metric is None or plan.evaluation is None or evaluated is None or evaluated_every is None:
        return []
    watched = Watched(
        metric=metric,
        excerpts=plan.config.copy_excerpts,
        limit=plan.config.copy_limit,
        training=plan.training,
        evaluation=plan.evaluation,
        base=plan.base.path if plan.base is not None else None,
        bars=_training_bars(plan),
        evaluation_corpus=evaluated.fingerprint,
    )
    return [CopyGuard(watched, measured, eval_steps=evaluated_every)]


def _third_party_callbacks(plan: Plan) -> Sequence[Callback]:
    context = RunContext(run_dir=plan.run_dir, run_name=plan.run_name, config=plan.config, encoder=plan.encoder)
    return current_registry().callbacks(context)


def _name_pieces(spec: StreamSpec, rows: Sequence[int]) -> list[str]:
    """The pieces from which the documents of ``rows`` were drawn."""
    stream = spec.open()
    return [str(piece) for row in rows for piece in stream.pieces_of_row(row)]


def _compiles() -> bool:
    # On a CPU attention runs per document. Boundaries differ between steps, so every step would compile again.
    if torch.cuda.is_available():
        return True
    _log.warning("compile is off: on the CPU, packed documents would be compiled again at every step.")
    return False


def _precision(config: TrainConfig) -> str:
    usable = usable_precision(config.precision, gpu=torch.cuda.is_available())
    if usable != config.precision:
        _log.warning("precision is %s instead of %s: there is no GPU.", usable, config.precision)
    return usable


def _is_of_step(bundle: Path, step: int) -> bool:
    """Whether the bundle exists, is intact and is of that step."""
    if not bundle.exists():
        return False
    try:
        # A third-party format may not store provenance.
        return bool(read_header(bundle).provenance.get("steps", step) == step)
    except CheckpointError:
        return False


def _write_bundle(plan: Plan, module: TrainingModule, path: Path, adapter_path: Path) -> None:
    """Write a bundle of the model, and before it the adapter if there is one. All ranks must call this; rank 0
    writes."""
    bundle = _bundle(plan, module)
    if bundle is None:
        return
    adapted, base = module.adapted, plan.base
    if adapted is not None and base is not None:
        save_adapter(
            StoredAdapter(
                adapter=component_name(adapted.ref),
                options=adapted.options,
                base=base_record(base.header, base.weights, base.name),
                provenance=bundle.provenance,
                tensors=adapted.tensors(),
            ),
            adapter_path,
        )
    save_bundle(bundle, path, plan.chosen.checkpoint_format.name)


def _bundle(plan: Plan, module: TrainingModule) -> Bundle | None:
    """The bundle of the current model on rank 0, None on the others. All ranks must call this."""
    weights = {} if module.adapted is not None else gathered_weights(module.trainer, module.model)
    if not module.trainer.is_global_zero:
        return None
    if module.adapted is not None:
        weights = module.adapted.merged()
    model: Any = module.model
    evaluation = module.last_evaluation
    return Bundle(
        architecture=plan.chosen.architecture.name,
        architecture_config=model.architecture_config(),
        encoder=plan.chosen.encoder.name,
        encoder_config=plan.encoder.to_config(),
        provenance=run_provenance(
            plan,
            steps=module.trainer.global_step,
            metrics={**({"eval_loss": evaluation.loss} if evaluation else {}), **module.music},
            copies=module.copies,
        ),
        state_dict=weights,
    )
