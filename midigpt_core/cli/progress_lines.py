"""Progress for a log file, where no bar can be drawn: one line every 30 seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, TypeVar

from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

SECONDS_BETWEEN_LINES = 30.0

State = TypeVar("State")


class ProgressLines(Generic[State]):
    """Prints ``line(state)`` if the last line is at least :data:`SECONDS_BETWEEN_LINES` old."""

    def __init__(self, console: Console, line: Callable[[State], str]) -> None:
        self._console = console
        self._line = line
        self._last = time.monotonic()

    def __call__(self, state: State) -> None:
        if time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            self._console.print(printable(self._line(state), None), markup=False, highlight=False)
