"""Progress of a corpus build: a bar in a terminal, a line every 30 seconds in a log file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from midigpt_core.cli.progress_lines import ProgressLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midigpt_core.corpus.build import BuildProgress


@contextlib.contextmanager
def build_progress() -> Iterator[Callable[[BuildProgress], None]]:
    """Yield the progress callback for :func:`midigpt_core.corpus.build.build`."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield ProgressLines(console, _line)
        return
    columns = (TextColumn("preprocessing"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None, figures="")
        yield lambda state: bar.update(task, completed=state.rows, total=state.total_rows, figures=_figures(state))


def _line(state: BuildProgress) -> str:
    total = "" if state.total_rows is None else f" of {state.total_rows:,}"
    return f"{state.rows:,}{total} rows, {_figures(state)}"


def _figures(state: BuildProgress) -> str:
    return f"shard {state.shards} of {state.total_shards} · {state.rows_per_second:,.0f} rows/s"
