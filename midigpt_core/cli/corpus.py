"""``midigpt corpus info``, ``verify`` and ``clean``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import click

from midigpt_core.cli.echo import echo_json, echo_line, echo_lines, remark_line
from midigpt_core.cli.groups import LazyGroup
from midigpt_core.cli.options import (
    NAME,
    PATH,
    SOURCE_HELP,
    SOURCE_OPTIONS,
    Several,
    SeveralCommand,
    common_options,
    data_argument,
    one_spelling,
)
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import counts_table, table
from midigpt_core.cli.train import chosen_source
from midigpt_core.corpus.build import locate_named
from midigpt_core.corpus.cache import cache_root
from midigpt_core.corpus.report import cached_shards, clean, count_copies, finished_shards, info, leakage, verify
from midigpt_core.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midigpt_core.corpus.report import CorpusInfo, Leakage

_MOST_COMMON = 8


@common_options
@click.group(
    cls=LazyGroup,
    lazy_commands={
        "info": (
            "midigpt_core.cli.corpus:show_info",
            "Show what corpora contain, and music that training and evaluation share.",
        ),
        "verify": ("midigpt_core.cli.corpus:verify_all", "Check every byte of corpora."),
        "clean": (
            "midigpt_core.cli.corpus:clean_cache",
            "Remove corpora that are damaged, unfinished or of another version.",
        ),
    },
)
def corpus() -> None:
    """Inspect, verify and clean corpora."""


@common_options
@click.command("info", cls=SeveralCommand)
@data_argument
@click.option("--data", cls=Several, type=PATH, metavar="PATH...", help="The same as DATA.")
@click.option(
    "--eval-data",
    cls=Several,
    type=PATH,
    metavar="PATH...",
    help="Shards to compare with --data: which pieces have the same music.",
)
@click.option("--source", type=NAME, metavar="NAME", help=SOURCE_HELP)
@SOURCE_OPTIONS
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show_info(
    ctx: click.Context,
    /,
    *,
    data_paths: tuple[str, ...],
    data: tuple[str, ...],
    eval_data: tuple[str, ...],
    source: str | None,
    assignments: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what the corpora of DATA (files, folders, globs) contain: rows by reason with examples, pieces, tracks,
    bars, notes, programs, time signatures, bytes on disk, and how many pieces are copies of others. Without DATA: all
    corpora in the cache.

    With --eval-data, also list evaluation pieces that have exactly the music of a training piece, and count those that
    have it in another key, tempo, instrument or order of tracks, or most of it.
    """
    data = one_spelling(ctx, data_paths, data)
    shards, names = _shards(ctx, data, source, assignments)
    found = info(shards, names)
    copies = _copies(shards)
    shared = None
    if eval_data:
        evaluated, _ = _shards(ctx, eval_data, source, assignments)
        # Without --data, training data is the rest of the cache; otherwise every piece would match itself.
        trained = shards if data else [shard for shard in shards if shard not in evaluated]
        shared = leakage(trained, evaluated)
    if as_json:
        parts = {**attrs.asdict(found), "copies": copies, "leakage": None if shared is None else attrs.asdict(shared)}
        echo_json(parts)
    else:
        _echo_info(found, copies, shared)


@common_options
@click.command("verify", cls=SeveralCommand)
@data_argument
@click.option("--data", cls=Several, type=PATH, metavar="PATH...", help="The same as DATA.")
@click.option("--source", type=NAME, metavar="NAME", help=SOURCE_HELP)
@SOURCE_OPTIONS
@click.pass_context
def verify_all(
    ctx: click.Context,
    /,
    *,
    data_paths: tuple[str, ...],
    data: tuple[str, ...],
    source: str | None,
    assignments: tuple[str, ...],
) -> None:
    """Check every byte of the corpora of DATA (files, folders, globs); without DATA, of all in the cache."""
    data = one_spelling(ctx, data_paths, data)
    report = verify(_shards(ctx, data, source, assignments)[0] if data else _cached(finished_shards()))
    shards = "1 shard" if report.shards == 1 else f"{report.shards:,} shards"
    remark_line(f"{shards}, {report.bytes_checked / 2**20:,.1f} MiB checked.")
    if report.damaged:
        for message in report.damaged:
            echo_line(message, err=True)
        raise CorpusError(
            f"{len(report.damaged)} of {report.shards} shards are damaged. "
            "Run 'midigpt corpus clean', then preprocess again."
        )


@common_options
@click.command("clean")
@click.option("--all", "everything", is_flag=True, help="Remove every corpus in the cache.")
def clean_cache(everything: bool) -> None:
    """Remove corpora from the cache that are damaged, unfinished or of another version."""
    report = clean(everything=everything)
    for folder in report.removed:
        remark_line(f"removed {folder}")
    busy = f", {report.busy} are being written and were left alone" if report.busy else ""
    remark_line(f"{len(report.removed)} removed ({report.bytes_freed / 2**20:,.1f} MiB), {report.kept} kept{busy}.")


def _shards(
    ctx: click.Context, data: Sequence[str], source: str | None, assignments: tuple[str, ...]
) -> tuple[list[Path], list[str]]:
    """The data files of the corpora, and the names of their shards; no names for all that is in the cache."""
    plugins = registry(ctx)
    if not data:
        return _cached(cached_shards()), []
    found = locate_named(plugins.resolve("source", chosen_source(plugins, source, assignments, data)), list(data))
    return [path for path, _ in found], [name for _, name in found]


def _cached(shards: list[Path]) -> list[Path]:
    if not shards:
        # The likely cause is that the corpora are in another cache.
        echo_line(f"{cache_root()} contains no corpus. Set MIDIGPT_CACHE to use another cache.", err=True)
    return shards


def _copies(shards: list[Path]) -> dict[str, int] | None:
    """Copies by kind; None, and a line, if a shard is damaged: the rest of the report needs none of its music."""
    try:
        return count_copies(shards)
    except CorpusError as error:
        echo_line(f"copies are not counted: {error}", err=True)
        return None


def _echo_info(found: CorpusInfo, copies: dict[str, int] | None, shared: Leakage | None) -> None:
    totals = found.totals
    sizes = {
        "shards": len(found.shards),
        **{name: getattr(totals, name) for name in ("pieces", "tracks", "bars", "notes")},
    }
    of_copies = {} if copies is None else {f"{kind} copies of pieces": count for kind, count in copies.items()}
    echo_lines(table(("holds", "count"), [*sizes.items(), *of_copies.items(), ("bytes on disk", found.disk_bytes)]))
    echo_line()
    echo_lines(counts_table("rows of the source", found.counts, found.examples))
    for title, counts in (("program", totals.programs), ("time signature", totals.signatures)):
        common = sorted(counts.items(), key=lambda item: -item[1])[:_MOST_COMMON]
        echo_line()
        echo_lines(table((f"most common {title}", "count"), common))
    if shared is not None:
        echo_line()
        echo_line(
            f"{shared.pieces:,} of {shared.eval_pieces:,} evaluation pieces have the same music as a training piece, "
            f"{shared.near_pieces:,} more are near copies of one."
        )
        for example in shared.examples:
            echo_line(f"  {example}")
