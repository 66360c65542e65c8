"""Prepares a run: everything that can be decided, and can fail, before torch is needed."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from midigpt_core import files, terminal
from midigpt_core.audio.banks import sound_bank
from midigpt_core.audio.libraries import audio_libraries
from midigpt_core.checkpoint.assemble import infill_positions
from midigpt_core.corpus.lacking import warn_of_lacking
from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.shared_memory import require_room
from midigpt_core.data.stream import StreamSpec
from midigpt_core.errors import ConfigError
from midigpt_core.inference.guarded import guarded
from midigpt_core.music.measuring import chosen_metrics
from midigpt_core.paths import usable_path
from midigpt_core.plugins import current_registry
from midigpt_core.plugins.faults import faults_named
from midigpt_core.records import SEQUENCE
from midigpt_core.training.planning.chosen import bundled_header, choose, settle_source, source_of
from midigpt_core.training.planning.copies import warn_of_leakage, without_copies
from midigpt_core.training.planning.corpora import gather, listed
from midigpt_core.training.planning.held_out import hold_out
from midigpt_core.training.planning.host_memory import require_rows_fit
from midigpt_core.training.planning.launch import (
    die_with_first,
    is_first,
    quiet_other_ranks,
    require_as_many_processes,
    require_no_left_over_rank,
    settle_slurm_tasks,
)
from midigpt_core.training.planning.objective import stream_settings, usable_mask
from midigpt_core.training.planning.positions import settle_positions
from midigpt_core.training.planning.resume import require_no_result, resume_candidates
from midigpt_core.training.planning.start_from import adopt, base_of, inherited_sources
from midigpt_core.training.planning.train_sets import gather_sets, joined, piece_sets, require_one_spelling, set_sources

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig
    from midigpt_core.contracts import Encoder
    from midigpt_core.plugins import Registry
    from midigpt_core.training.planning.chosen import Chosen
    from midigpt_core.training.planning.corpora import Paths, Pieces, Progress
    from midigpt_core.training.planning.start_from import Base
    from midigpt_core.training.planning.train_sets import GatheredSet

_log = terminal.logger("midigpt_core.training")

#: The metric that measures copies.
COPY_RATE = "copy_rate"


@frozen(eq=False, kw_only=True)
class Plan:
    """A run that is ready to start."""

    #: A copy of the caller's configuration, completed.
    config: TrainConfig
    chosen: Chosen
    encoder: Encoder
    train_pieces: Pieces
    #: The sets that ``train_pieces`` is made of; empty if the run has none.
    train_sets: tuple[GatheredSet, ...]
    #: Names of the data sources that the weights are trained on, including those of ``init_from``.
    sources: tuple[str, ...]
    #: The bundle that the run starts from; None: new weights.
    base: Base | None
    eval_pieces: Pieces | None
    #: Whether ``eval_pieces`` were held out of the training data (``eval_share``).
    is_held_out: bool
    training: StreamSpec
    evaluation: StreamSpec | None
    #: The metrics of generated music by name; empty: none is measured.
    metrics: Mapping[str, ComponentRef]
    #: The metric that measures copies; None: they are not measured.
    copy_metric: ComponentRef | None
    #: The sound bank of the samples; None: they are not played.
    bank: Path | None
    #: Checkpoints to continue from: the first intact one is used; empty: the run starts at step 0.
    resume_from: tuple[Path, ...]
    #: Whether the run may continue with another corpus.
    accept_new_data: bool

    @property
    def run_dir(self) -> Path:
        return Path(self.config.output_dir)

    @property
    def run_name(self) -> str:
        return self.config.run_name or self.run_dir.resolve().name


def prepare(
    config: TrainConfig,
    train_path: Paths | None = None,
    eval_path: Paths | None = None,
    *,
    resume: str | os.PathLike[str] | None = None,
    accept_new_data: bool = False,
    progress: Progress | None = None,
) -> Plan:
    """Check the configuration, resolve the components, build and select the corpora.

    Without ``train_path`` the run trains on the configuration's ``train_sets``. ``progress`` is called while corpora
    are built. Raises :class:`midigpt_core.errors.MidigptError` for every error that the user can fix.
    """
    chosen: list[ComponentRef] = []
    with faults_named(chosen, lambda: "before the run"):
        return _prepare(
            config,
            train_path,
            eval_path,
            resume=resume,
            accept_new_data=accept_new_data,
            progress=progress,
            components=chosen,
        )


def _prepare(
    config: TrainConfig,
    train_path: Paths | None,
    eval_path: Paths | None,
    *,
    resume: str | os.PathLike[str] | None,
    accept_new_data: bool,
    progress: Progress | None,
    components: list[ComponentRef],
) -> Plan:
    """See :func:`prepare`. ``components`` gets those of the run as soon as they are known."""
    for what, given in (("train_path", train_path), ("eval_path", eval_path)):
        for path in () if given is None else listed(given):
            usable_path(path, what=what)
    die_with_first()
    config = copy.deepcopy(config)
    config.validate()
    require_rows_fit(
        max_tracks=config.max_tracks,
        max_seq_len=config.max_seq_len,
        batch_size=config.batch_size,
        eval_rows=config.eval_rows // config.num_nodes if eval_path or config.eval_share else 0,
    )
    if config.output_dir.startswith("~"):
        folder = usable_path(config.output_dir, what="output_dir", error=ConfigError)
        config.update({"output_dir": str(folder)}, config.origins["output_dir"])
    require_one_spelling(config, train_path)
    require_as_many_processes(config)
    require_no_left_over_rank(config)
    settle_slurm_tasks(config)
    registry = current_registry()
    quiet_other_ranks(
        {"midigpt_core", *(entry.module.rpartition(".")[0] or entry.module for entry in registry.entries)}
    )
    if config.warmup_steps > config.max_steps:
        _log.warning(
            "warmup_steps is %d, but max_steps is %d: the learning rate never reaches %g.",
            config.warmup_steps, config.max_steps, config.learning_rate,
        )  # fmt: skip
    settle_source(config, registry, listed(train_path) if train_path else ())
    base = base_of(config)
    adopted = adopt(config, base, registry) if base is not None else None
    chosen = choose(config, registry, encoder=adopted)
    components += chosen.all
    chosen, encoder = settle_positions(config, chosen, registry, kept=_kept_positions(config, registry, resume, base))
    _look_for_grammar(config, encoder, chosen.encoder)
    bank = _bank(config)
    metrics = chosen_metrics(registry, config.metrics) if config.music else {}
    _require_evaluations(config, encoder, is_evaluated=bool(eval_path or config.eval_share))
    settings = stream_settings(config, encoder)
    require_room(settings, config.num_workers, config.devices)
    mask = usable_mask(config, chosen, encoder, registry)
    if mask is None:
        settings = evolve(settings, mask_apply_probability=0.0)
    files.require_writable_folder(config.output_dir)
    resume_from = resume_candidates(resume, Path(config.output_dir) / "checkpoints")
    if not resume_from:
        require_no_result(Path(config.output_dir))
    collect = partial(
        gather, source=chosen.source, encoder=encoder, settings=settings, workers=config.workers, progress=progress
    )
    train_sets = gather_sets(config, collect, registry)
    parts = [collect(train_path)] if train_path else [one.pieces for one in train_sets]
    parts = [without_copies(part, config.deduplicate) for part in parts]
    parts, eval_pieces = _evaluated(config, parts, collect, eval_path, registry)
    train_sets = tuple(evolve(one, pieces=part) for one, part in zip(train_sets, parts, strict=False))
    train_pieces = parts[0] if train_path else joined(parts)
    if eval_pieces is not None:
        warn_of_leakage(train_pieces, eval_pieces, held_out=not eval_path)
    warn_of_lacking(open_corpus(train_pieces.shards), encoder, genres=settings.genre_probability > 0)
    training = StreamSpec(
        shards=train_pieces.shards,
        sources=train_pieces.sources,
        pieces=train_pieces.valid,
        encoder=chosen.encoder,
        plugin_attributes=encoder.plugin_attributes,
        mask=mask,
        settings=settings,
        sets=piece_sets(train_sets),
    )
    evaluation = None
    if eval_pieces is not None:
        evaluation = StreamSpec(
            shards=eval_pieces.shards,
            sources=eval_pieces.sources,
            pieces=eval_pieces.valid,
            encoder=chosen.encoder,
            plugin_attributes=encoder.plugin_attributes,
            mask=None,
            settings=settings.evaluation(infill=True),
        )
    return Plan(
        config=config,
        chosen=chosen,
        encoder=encoder,
        train_pieces=train_pieces,
        train_sets=train_sets,
        sources=tuple(sorted({*set_sources(config, chosen.source, registry), *inherited_sources(base)})),
        base=base,
        eval_pieces=eval_pieces,
        is_held_out=eval_pieces is not None and not eval_path,
        training=training,
        evaluation=evaluation,
        metrics=metrics,
        copy_metric=next(iter(chosen_metrics(registry, [COPY_RATE]).values())) if config.copy_limit else None,
        bank=bank,
        resume_from=resume_from,
        accept_new_data=accept_new_data,
    )


def _look_for_grammar(config: TrainConfig, encoder: Encoder, ref: ComponentRef) -> None:
    """Warn of an encoder without a grammar. Raises :class:`ConfigError` if the run is to generate samples."""
    if guarded(encoder, str(ref), "before the run").grammar() is not None:
        return
    if config.sample_steps:
        raise ConfigError(
            f"sample_steps: encoder {ref.name!r} has no grammar, so nothing can be generated. Set it to 0."
        )
    _log.warning(
        "encoder %r has no grammar: the model will be trained, but cannot generate (docs/plugins/grammars.md).",
        ref.name,
    )


def _bank(config: TrainConfig) -> Path | None:
    """The sound bank of the samples, on the rank that plays them. Raises :class:`ConfigError` if it cannot."""
    if config.sample_audio == "none" or not is_first():
        return None
    audio_libraries()
    return sound_bank(config.soundfont, option="soundfont")


def _evaluated(
    config: TrainConfig,
    parts: list[Pieces],
    collect: Callable[..., Pieces],
    eval_path: Paths | None,
    registry: Registry,
) -> tuple[list[Pieces], Pieces | None]:
    """The pieces of each training set that are trained on, and those that are evaluated on; None: there are none."""
    if eval_path:
        return parts, collect(eval_path, source=source_of(listed(eval_path), config, registry))
    if not config.eval_share:
        return parts, None
    parts, held_out = hold_out(parts, config.eval_share)
    return parts, (held_out[0] if len(held_out) == 1 else joined(held_out)) if held_out else None


def _require_evaluations(config: TrainConfig, encoder: Encoder, *, is_evaluated: bool) -> None:
    """Raise :class:`ConfigError` for settings of evaluations in a run that has none, or whose model cannot generate."""
    for name in ("music", "copy_limit", "patience"):
        if not getattr(config, name):
            continue
        if not is_evaluated:
            raise ConfigError(f"{name}: there are no evaluations. Give eval_path (--eval-data), or set {name} to 0.")
        if name != "patience" and encoder.grammar() is None:
            raise ConfigError(f"{name}: the encoder has no grammar, so nothing can be generated. Set it to 0.")


def _kept_positions(
    config: TrainConfig, registry: Registry, resume: str | os.PathLike[str] | None, base: Base | None
) -> str | None:
    """How filled bars are numbered in what the run goes on from or starts from; None: the run is new."""
    if resume is not None and resume_candidates(resume, Path(config.output_dir) / "checkpoints"):
        # The setting that adds nothing to the encoder. When the checkpoint is read, its own is settled.
        return SEQUENCE
    header = base.header if base is not None else bundled_header(config, registry)
    return None if header is None else infill_positions(header)
