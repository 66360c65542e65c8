"""Makes :mod:`encoder_parts` importable by the tests of this folder, and prints how many golden rows agreed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.stats.get("passed", [])
    counts = [value for report in reports for name, value in report.user_properties if name == "golden rows"]
    if counts:
        terminalreporter.section("golden rows of the encoder that agree")
        for line in counts:
            terminalreporter.line(str(line))
