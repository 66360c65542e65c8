"""``midigpt evaluate``."""

from __future__ import annotations

import click

from midigpt_core.cli.echo import echo_json, echo_lines
from midigpt_core.cli.options import (
    NAME,
    PATH,
    SOURCE_HELP,
    Several,
    SeveralCommand,
    common_options,
    data_argument,
    one_spelling,
)
from midigpt_core.cli.selected import registry, source_of_data
from midigpt_core.cli.tables import table
from midigpt_core.config.counts import LARGEST_COUNT, MOST_EVALUATION_ROWS


@common_options
@click.command(cls=SeveralCommand)
@data_argument
@click.option("--checkpoint", type=PATH, required=True, metavar="BUNDLE", help="Bundle to evaluate.")
@click.option("--data", cls=Several, type=PATH, metavar="PATH...", help="The same as DATA.")
@click.option("--source", type=NAME, metavar="NAME", help=SOURCE_HELP)
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
    "--precision",
    type=click.Choice(("fp16", "bf16", "fp32")),
    help="Arithmetic.  [default: as in the bundle's training]",
)
@click.option("--device", type=NAME, metavar="DEVICE", help="cpu, cuda, …  [default: the GPU if there is one]")
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
    rows: int | None,
    batch_size: int | None,
    precision: str | None,
    device: str | None,
    as_json: bool,
) -> None:
    """Print validation losses of a bundle on DATA in nats per token: overall, by kind of document and by
    group of tokens.

    DATA are files, folders, globs or addresses of music.
    """
    paths = one_spelling(ctx, data_paths, data)
    if not paths:
        raise click.UsageError("Missing option '--data'. Give it or DATA: files, folders or globs.")
    plugins = registry(ctx)
    chosen = source_of_data(plugins, source, paths)
    # Imports torch and Lightning, which takes seconds; a wrong name is reported before.
    from midigpt_core.training import evaluate as evaluation

    report = evaluation.evaluate(
        checkpoint, list(paths), source=chosen, rows=rows, batch_size=batch_size, precision=precision, device=device
    )
    if as_json:
        echo_json(report.to_dict())
        return
    losses = [("all", report.loss, report.tokens)]
    losses += [(name, loss, report.tokens_by_kind[name]) for name, loss in report.by_kind.items()]
    losses += [(name, loss, report.tokens_by_group[name]) for name, loss in report.by_group.items()]
    echo_lines(table(("tokens", "loss", "count"), [(name, f"{loss:.4f}", count) for name, loss, count in losses]))
