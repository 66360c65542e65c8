"""Progress of measuring music: a bar in a terminal, a line every 30 seconds in a log file."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from attrs import frozen
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from midigpt_core.cli.progress_lines import ProgressLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@frozen
class _State:
    what: str
    done: int
    total: int


@contextlib.contextmanager
def music_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield the progress callback for :func:`midigpt_core.training.evaluate_music.evaluate_music`."""
    console = Console(stderr=True)
    if not console.is_terminal:
        lines = ProgressLines(console, _line)
        yield lambda what, done, total: lines(_State(what, done, total))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)


def _line(state: _State) -> str:
    return f"{state.what}: {state.done:,} of {state.total:,}"
