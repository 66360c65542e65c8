"""What a user sees while a corpus is built: rows, rows a second and the time that is left; or lines in a log file."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from rich.console import Console

from midigpt_core.cli import build_progress as module
from midigpt_core.cli import progress_lines
from midigpt_core.corpus.build import BuildProgress

if TYPE_CHECKING:
    import pytest


def shown(monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool, states: list[BuildProgress]) -> str:
    written = io.StringIO()

    def console(**_: object) -> Console:
        return Console(file=written, force_terminal=is_terminal, width=160, color_system=None)

    monkeypatch.setattr(module, "Console", console)
    with module.build_progress() as progress:
        for state in states:
            progress(state)
    return written.getvalue()


STATES = [BuildProgress(0, 2_000, 0, 2, 0.0), BuildProgress(500, 2_000, 1, 2, 8_123.4)]


def test_a_terminal_has_a_bar_with_rows_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, is_terminal=True, states=STATES)
    last = [line for line in re.split(r"[\r\n]", text) if "preprocessing" in line][-1]
    assert "500/2000" in last
    assert "shard 1 of 2 · 8,123 rows/s" in last
    # Elapsed and remaining; the latter is unknown so soon.
    assert re.search(r"0:00:0\d +(-:--:--|0:0\d:\d\d)", last)


def test_a_log_file_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, is_terminal=False, states=STATES) == ""
    monkeypatch.setattr(progress_lines, "SECONDS_BETWEEN_LINES", 0)
    lines = shown(monkeypatch, is_terminal=False, states=STATES).splitlines()
    assert lines[-1] == "500 of 2,000 rows, shard 1 of 2 · 8,123 rows/s"
    unknown = shown(monkeypatch, is_terminal=False, states=[BuildProgress(7, None, 0, 1, 3.0)])
    assert unknown.startswith("7 rows, ")
