"""Progress of generation: a bar in a terminal, a line every 30 seconds in a log file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from midigpt_core.cli.progress_lines import ProgressLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midigpt_core.inference import Progress


@contextlib.contextmanager
def generation_progress() -> Iterator[Callable[[Progress], None]]:
    """Yield the progress callback for a session."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield ProgressLines(console, _line)
        return
    columns = (TextColumn("generating"), BarColumn(), MofNCompleteColumn(), TextColumn("bars · {task.fields[speed]}"))
    with ProgressBar(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("", total=None, speed="")
        yield lambda state: bar.update(task, completed=state.bars_done, total=state.bars, speed=_speed(state))


def _line(state: Progress) -> str:
    return f"{state.bars_done:,} of {state.bars:,} bars, {_speed(state)}"


def _speed(state: Progress) -> str:
    return f"{state.tokens / state.seconds if state.seconds else 0:,.0f} tokens/s"
