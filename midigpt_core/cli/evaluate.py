"""``midigpt evaluate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.echo import echo_json, echo_line, echo_lines
from midigpt_core.cli.options import (
    BUNDLE,
    NAME,
    PATH,
    SOURCE_HELP,
    SOURCE_OPTIONS,
    FiniteRange,
    Several,
    SeveralCommand,
    common_options,
    data_argument,
    fetched,
    one_spelling,
)
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import table
from midigpt_core.cli.train import chosen_source
from midigpt_core.config import choices
from midigpt_core.config.counts import LARGEST_COUNT, MOST_EVALUATION_ROWS, MOST_EXCERPTS
from midigpt_core.config.overrides import read_value
from midigpt_core.errors import ConfigError
from midigpt_core.kinds import Kind
from midigpt_core.plugins import structure_options

if TYPE_CHECKING:
    from midigpt_core.music.measuring import MusicReport
    from midigpt_core.records import Figure

#: Options that only ``--music`` takes.
_OF_MUSIC = ("metric", "pieces", "temperature", "train_data", "copy_index", "copy_sample")


@common_options
@click.command(cls=SeveralCommand)
@data_argument
@click.option("--checkpoint", type=BUNDLE, required=True, metavar="BUNDLE", help="Bundle to evaluate.")
@click.option("--data", cls=Several, type=PATH, metavar="PATH...", help="The same as DATA.")
@click.option("--source", type=NAME, metavar="NAME", help=SOURCE_HELP)
@SOURCE_OPTIONS
@click.option(
    "--rows",
    type=click.IntRange(1, MOST_EVALUATION_ROWS),
    help="Packed rows to evaluate.  [default: as in the bundle's training]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, LARGEST_COUNT),
    help="Rows per batch.  [default: as in the bundle's training]",
)
@click.option(
    "--bars",
    type=click.IntRange(1, LARGEST_COUNT),
    help="Bars in a window, in rows as long as the model can take.  [default: as in the bundle's training]",
)
@click.option(
    "--precision",
    type=click.Choice(("fp16", "bf16", "fp32")),
    help="Arithmetic.  [default: as in the bundle's training]",
)
@click.option("--device", type=NAME, metavar="DEVICE", help="cpu, cuda, …  [default: the GPU if there is one]")
@click.option("--music", is_flag=True, help="Also generate bars and measure the music.")
@click.option(
    "--metric",
    type=NAME,
    multiple=True,
    metavar="NAME",
    help="With --music: a metric component, or a block with options as JSON; can be repeated.  [default: all]",
)
@click.option(
    "--pieces",
    type=click.IntRange(1, MOST_EXCERPTS),
    help="With --music: excerpts to generate bars in, and as many for controls.  [default: 128]",
)
@click.option("--temperature", type=FiniteRange(0, 100), help="With --music: of generation.  [default: 1]")
@click.option(
    "--train-data",
    cls=Several,
    type=PATH,
    metavar="PATH...",
    help="With --music: the model's training data, to find copies of its bars.",
)
@click.option(
    "--copy-index",
    type=PATH,
    metavar="FILE",
    help="With --music: index of the training data's bars; written if it does not exist.  "
    "[default: copies.npy in the bundle's folder]",
)
@click.option(
    "--copy-sample",
    type=FiniteRange(0, 1, min_open=True),
    help="With --music: share of the bars that a new index holds.  [default: 1]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def evaluate(
    ctx: click.Context,
    /,
    *,
    data_paths: tuple[str, ...],
    checkpoint: str,
    data: tuple[str, ...],
    source: str | None,
    assignments: tuple[str, ...],
    rows: int | None,
    batch_size: int | None,
    bars: int | None,
    precision: str | None,
    device: str | None,
    music: bool,
    as_json: bool,
    **of_music: Any,
) -> None:
    """Print validation losses of a bundle on DATA in nats per token: overall, by kind of document and by
    group of tokens.

    DATA are files, folders, globs or addresses of music. With --music, generated bars are measured too:
    docs/evaluation.md says what each figure means.
    """
    given = {name: value for name in _OF_MUSIC if (value := of_music[name]) not in (None, ())}
    if given and not music:
        raise ConfigError(f"--{next(iter(given)).replace('_', '-')} is an option of --music. Add --music.")
    paths = one_spelling(ctx, data_paths, data)
    if not paths:
        raise click.UsageError("Missing option '--data'. Give it or DATA: files, folders or globs.")
    plugins = registry(ctx)
    chosen = chosen_source(plugins, source, assignments, paths)
    if "metric" in given:
        given["metric"] = [choices.as_mapping(read_value(text)) for text in given["metric"]]
        for choice in given["metric"]:
            structure_options(plugins.resolve(Kind.METRIC, choice))
    # Imports torch and Lightning, which takes seconds; a wrong name is reported before.
    from midigpt_core.training import evaluate as evaluation

    checkpoint = fetched(checkpoint)
    report = evaluation.evaluate(
        checkpoint,
        list(paths),
        source=chosen,
        rows=rows,
        batch_size=batch_size,
        bars=bars,
        precision=precision,
        device=device,
    )
    # The training data may be of another source than DATA.
    named = chosen if assignments else source or plugins.source_of_selection()
    measured = _measured(checkpoint, paths, named, device, given) if music else None
    if as_json:
        echo_json(report.to_dict() | ({} if measured is None else {"music": measured.to_dict()}))
        return
    losses = [("all", report.loss, report.tokens)]
    losses += [(name, loss, report.tokens_by_kind[name]) for name, loss in report.by_kind.items()]
    losses += [(name, loss, report.tokens_by_group[name]) for name, loss in report.by_group.items()]
    echo_lines(table(("tokens", "loss", "count"), [(name, f"{loss:.4f}", count) for name, loss, count in losses]))
    if measured is not None:
        _echo_music(measured)


def _measured(
    checkpoint: str,
    data: tuple[str, ...],
    source: str | dict[str, Any] | None,
    device: str | None,
    given: dict[str, Any],
) -> MusicReport:
    from midigpt_core.cli.music_progress import music_progress
    from midigpt_core.training.evaluate_music import MusicSettings, evaluate_music

    fields = {"metric": "metrics", "pieces": "excerpts"}
    settings = MusicSettings(**{fields.get(name, name): value for name, value in given.items()})
    with music_progress() as progress:
        return evaluate_music(
            checkpoint, list(data), source=source, settings=settings, device=device, progress=progress
        )


def _echo_music(measured: MusicReport) -> None:
    echo_line()
    head = ("music", "generated", "95 %", "compared with", "", "measured on")
    echo_lines(table(head, [_row(name, figure) for name, figure in measured.figures.items()]))
    echo_line(
        f"{measured.bars} bars generated in {measured.excerpts} excerpts of {measured.pieces} pieces, "
        f"and {measured.requests} request{'' if measured.requests == 1 else 's'} for a level of a control"
    )


def _row(name: str, figure: Figure) -> tuple[str, ...]:
    interval = "" if figure.low is None else f"{figure.text(figure.low)} to {figure.text(figure.high)}"
    compared = ("", "") if figure.baseline is None else (figure.text(figure.baseline), figure.baseline_of)
    return name, figure.text(figure.value), interval, *compared, f"{figure.count} {figure.counted}"
