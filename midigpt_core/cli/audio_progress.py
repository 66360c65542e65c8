"""Progress of making sound: a line in a terminal, and one every 30 seconds in a log file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress as ProgressBar
from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

from midigpt_core.cli.progress_lines import ProgressLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def audio_progress(count: int) -> Iterator[Callable[[int, float], None]]:
    """Yield a callback for the number of the file, of ``count``, and the seconds of it that are written."""
    console = Console(stderr=True)

    def line(state: tuple[int, float]) -> str:
        number, seconds = state
        return f"sound: file {number:,} of {count:,}, {seconds:,.0f} s"

    if not console.is_terminal:
        lines = ProgressLines(console, line)
        yield lambda number, seconds: lines((number, seconds))
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task(line((1, 0.0)), total=None)
        yield lambda number, seconds: bar.update(task, description=line((number, seconds)))
