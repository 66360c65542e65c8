"""Fixtures that several folders share, and the count of golden rows that `make goldens` prints."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.plugins import Selection, current_registry, load_registry, use_registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midigpt_core.plugins import Registry

    #: (golden file, what was compared, preset or "", rows, names of the rows that differ)
    NoteGolden = Callable[[str, str, str, int, Sequence[str]], None]

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def _tiny() -> Registry:
    return load_registry(Selection(plugin_dirs=(str(DATA / "plugins"),)))


@pytest.fixture
def tiny_registry(_tiny: Registry) -> Iterator[Registry]:
    """The bundled plugins and ``tests/data/plugins`` (encoders ``tiny`` and ``whole``) as the process's registry."""
    before = current_registry()
    use_registry(_tiny)
    yield _tiny
    use_registry(before)


@pytest.fixture(scope="session")
def midi_folder() -> Path:
    return DATA / "midi"


@pytest.fixture(scope="session")
def golden_rows() -> Any:
    """``golden_rows("scores")``: the rows of that golden file."""

    def rows(name: str) -> list[dict[str, Any]]:
        with gzip.open(DATA / "goldens" / f"{name}.jsonl.gz", "rt") as lines:
            return [json.loads(line) for line in lines]

    return rows


@pytest.fixture
def golden(record_property: Callable[[str, object], None]) -> NoteGolden:
    """Notes how many rows of a golden file agreed."""

    def note(file: str, what: str, preset: str, rows: int, different: Sequence[str]) -> None:
        record_property("golden", [file, what, preset, rows, list(different)])

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    notes = [value for report in reports for name, value in report.user_properties if name == "golden"]
    if not notes:
        return
    terminalreporter.section("golden rows that agree, of all")
    table: dict[tuple[str, str], dict[str, tuple[int, int]]] = {}
    for file, what, preset, rows, different in notes:
        cells = table.setdefault((file, what), {})
        for column in {"", preset}:
            agree, of = cells.get(column, (0, 0))
            cells[column] = (agree + rows - len(different), of + rows)
    for (file, what), cells in sorted(table.items()):
        by_preset = "  ".join(f"{preset} {agree}" for preset, (agree, _) in sorted(cells.items()) if preset)
        agree, of = cells[""]
        terminalreporter.line(f"{file:10} {what:34} {agree:>5} of {of:<5} {by_preset}".rstrip())
    for file, what, _, _, different in notes:
        for name in different:
            terminalreporter.line(f"{file:10} {what:34} differs: {name}")
