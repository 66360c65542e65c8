"""``midigpt preprocess``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from midigpt_core.cli.build_progress import build_progress
from midigpt_core.cli.echo import remark_line, remark_lines
from midigpt_core.cli.options import (
    BUNDLE,
    NAME,
    PATH,
    SOURCE_HELP,
    SOURCE_OPTIONS,
    Several,
    SeveralCommand,
    common_options,
    data_argument,
    fetched,
    one_spelling,
)
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import counts_table
from midigpt_core.cli.train import configure
from midigpt_core.config.counts import LARGEST_COUNT
from midigpt_core.contracts import Encoder, EncoderContext
from midigpt_core.corpus.part import Part
from midigpt_core.errors import ConfigError
from midigpt_core.plugins.building import build as build_component

if TYPE_CHECKING:
    from typing import Any

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig
    from midigpt_core.corpus.build import BuildReport
    from midigpt_core.plugins import Registry


class _PartType(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions
    """A part of the shards: ``3/16``."""

    name = "part"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Part:
        if isinstance(value, Part):
            return value
        try:
            return Part.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@common_options
@click.command(cls=SeveralCommand)
@data_argument
@click.option(
    "--parquet",
    "--data",
    "paths",
    cls=Several,
    type=PATH,
    metavar="PATH...",
    help="The same as DATA.",
)
@click.option("--checkpoint", type=BUNDLE, metavar="BUNDLE", help="Take the encoder from this bundle.")
@click.option(
    "--encoder-config", type=PATH, metavar="JSON|PRESET", help="Encoder configuration file, or the name of a preset."
)
@click.option(
    "--min-bars",
    type=click.IntRange(1, LARGEST_COUNT),
    default=4,
    show_default=True,
    help="Fewest bars a piece must have.",
)
@click.option(
    "--min-tracks",
    type=click.IntRange(1, LARGEST_COUNT),
    default=1,
    show_default=True,
    help="Fewest tracks a piece must have.",
)
@click.option(
    "--config",
    "config_file",
    type=PATH,
    metavar="FILE",
    help="Take window sizes and fill ratio from this configuration.",
)
@click.option("--source", type=NAME, metavar="NAME", help=SOURCE_HELP)
@SOURCE_OPTIONS
@click.option("--workers", type=click.IntRange(1, LARGEST_COUNT), help="Number of processes.  [default: one per core]")
@click.option(
    "--part",
    type=_PartType(),
    metavar="K/N",
    help="Only the K-th of N parts of the shards, e.g. 3/16, for the tasks of a job array.",
)
@click.option(
    "--engine", type=NAME, metavar="NAME", help="Build on other machines: ray, a Ray cluster.  [default: this machine]"
)
@click.option(
    "--address", type=NAME, metavar="HOST:PORT", help="Where the engine's machines are.  [default: the engine's own]"
)
@click.option("--verify", is_flag=True, help="Hash all shards again, even if size and time are unchanged.")
@click.pass_context
def preprocess(
    ctx: click.Context,
    /,
    *,
    data_paths: tuple[str, ...],
    paths: tuple[str, ...],
    checkpoint: str | None,
    encoder_config: str | None,
    min_bars: int,
    min_tracks: int,
    config_file: str | None,
    source: str | None,
    assignments: tuple[str, ...],
    workers: int | None,
    part: Part | None,
    engine: str | None,
    address: str | None,
    verify: bool,
) -> None:
    """Parse DATA (files, folders, globs, addresses) once into the corpus that training reads. With an encoder, also
    count the pieces that fit it.

    The corpus is kept in ~/.midigpt; MIDIGPT_CACHE names another folder. It does not depend on the encoder: with
    another encoder, --min-bars or --min-tracks nothing is parsed again. If MIDIGPT_STORE names a store that several
    machines share, a folder or a URI such as s3://bucket/folder, it gets a copy.
    """
    from midigpt_core.corpus.build import build
    from midigpt_core.corpus.engines import find_engine
    from midigpt_core.corpus.lacking import warn_of_lacking
    from midigpt_core.corpus.select import SelectionLimits, require_nonempty, select
    from midigpt_core.corpus.shared_store import shared_store
    from midigpt_core.corpus.store import open_corpus
    from midigpt_core.training.planning.chosen import settle_source

    paths = one_spelling(ctx, data_paths, paths)
    if not paths:
        raise click.UsageError("Missing option '--parquet' / '--data'. Give it or DATA: files, folders or globs.")
    if checkpoint is not None and encoder_config is not None:
        raise ConfigError("--checkpoint and --encoder-config both name an encoder. Keep one of them.")
    if engine is None and address is not None:
        raise ConfigError("--address: is of an engine. Name the engine too: --engine ray.")
    if engine is not None and workers is not None:
        raise ConfigError("--workers: an engine uses all processors of its machines. Leave it out.")
    plugins = registry(ctx)
    config = configure(config_file, assignments, {"source": source, "encoder_config_path": encoder_config}, plugins)
    elsewhere = None if engine is None else find_engine(engine, address or "")
    settle_source(config, plugins, paths)
    encoder: Encoder | None = None
    if checkpoint is not None or {"encoder", "encoder_config_path"} & config.set_fields:
        encoder = build_component(_encoder_ref(checkpoint, config, plugins), EncoderContext())
    if encoder is not None and elsewhere is not None and shared_store() is not None:
        raise ConfigError(
            "--engine with MIDIGPT_STORE: the corpora go to the store and are not read here. Name no encoder; "
            "training counts the pieces that fit."
        )
    with build_progress() as progress:
        report = build(
            plugins.resolve("source", config.choice("source")),
            list(paths),
            publish=True,
            part=part,
            engine=elsewhere,
            workers=workers,
            verify=verify,
            progress=progress,
        )
    remark_lines(counts_table("rows of the source", report.counts, report.examples))
    remark_line()
    if encoder is None or not report.shards:
        remark_line(_summary(report, part))
        return
    limits = SelectionLimits(
        min_bars=min_bars,
        min_tracks=min_tracks,
        window_sizes=config.num_bars_choices,
        min_fill_ratio=config.min_fill_ratio,
    )
    opened = open_corpus(report.shards, report.sources)
    valid = select(opened, encoder, limits)
    warn_of_lacking(opened, encoder)
    remark_lines(counts_table("pieces of the corpus", valid.counts, {}))
    if part is None:
        require_nonempty(valid, opened, limits)
    remark_line()
    remark_line(_summary(report, part))


def _summary(report: BuildReport, part: Part | None) -> str:
    of_part = "" if part is None else f"Part {part}: "
    fetched = f", {report.fetched} copied from the store" if report.fetched else ""
    shards = "1 shard" if len(report.shards) == 1 else f"{len(report.shards):,} shards"
    return f"{of_part}{shards}, {report.built} built now{fetched}, in {report.seconds:.1f} s."


def _encoder_ref(checkpoint: str | None, config: TrainConfig, plugins: Registry) -> ComponentRef:
    from midigpt_core.checkpoint import encoder_ref, read_header
    from midigpt_core.training.planning.chosen import choose_encoder

    return choose_encoder(config, plugins) if checkpoint is None else encoder_ref(read_header(fetched(checkpoint)))
