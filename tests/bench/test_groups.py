"""Each group of rows runs as `make bench` runs it, over a corpus of a few pieces and without the baseline."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from importlib import import_module
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from bench import corpus, growth, quality, results
from bench.bare import event_loop
from bench.memory import held_bytes, peak_bytes
from bench.reading import read
from bench.session import Session
from midigpt_core.score.reading import read_batch

if TYPE_CHECKING:
    from pathlib import Path

#: What makes a group small: constants of its module.
SMALL = {
    "reading": {},
    "encoding": {"_WINDOWS": 64, "_CALL": 32},
    "stream": {"_BLOCKS": 1, "_WORKER_BLOCKS": 2, "_SHORT": 100, "_LONG": 1_000, "_SMALL": 40, "_LARGE": 80},
    "preprocess": {"_ROWS": 40, "_HOSTILE": 0.1, "_BASELINE_ROWS": 4, "_SMALL_SHARD": 40, "_LARGE_SHARD": 80},
    "start": {"_FEW": 20, "_MANY": 40, "_DISTINCT": 10, "_RUNS": 1},
    "packing": {"_BLOCKS": 2, "_UNPACKED_BLOCKS": 2},
    "threads": {"_STEPS": 1, "_BUSY": (0, 1), "_SIZE": "tiny"},
    "serving": {
        "_SIZE": "tiny",
        "_CLIENTS": 4,
        "_REQUESTS": 1,
        "_TURNS": 1,
        "_FIRST_NOTES": 1,
        "_MIXED": 60,
        "_WARM": 20,
        "_KINDS": 10,
    },
    "quality": {
        "COMPOSED": 24,
        "SECONDS": 1,
        "EVALUATION_ROWS": 2,
        "_SHAPES": (evolve(quality._SHAPES[0], marks=4, timed_steps=3),),
        "_keep": lambda *_: None,
    },
}


MACHINE = {"cores": 2, "cpu": "a CPU", "system": "Linux x86_64", "python": "3.11.7", "load_before": 0.5}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return Session(repeats=1, folder=tmp_path_factory.mktemp("bench"), baseline_python=None)


@pytest.fixture(autouse=True)
def few_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "GENERATED", 36)
    monkeypatch.setattr(corpus, "COPIES_OF_REAL", 1)
    # Quantiles of a few dozen: a dozen tracks or more are in it all the same.
    monkeypatch.setattr(corpus, "TRACKS", {0.0: 1, 1.0: 20})
    monkeypatch.setattr(corpus, "NOTES", {0.0: 100, 1.0: 4_000})


@pytest.mark.parametrize("group", SMALL)
def test_a_group_runs(group: str, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(f"bench.{group}")
    for name, value in SMALL[group].items():
        monkeypatch.setattr(module, name, value)
    rows = list(module.rows(session))
    assert rows
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert math.isfinite(row.ours), row.name
        # Cold less warm is within the noise over so few rows, and memory may shrink: both may be negative.
        assert row.ours >= 0 or group in ("preprocess", "serving"), row.name
    group_of_rows = results.Group(date="2026-11-25", machine=MACHINE, rows=rows)
    assert results.parse(results.render_json({group: group_of_rows}))[group].rows[0].name == rows[0].name


@pytest.mark.parametrize(("loss", "seconds"), [(4.0, 1.0), (3.0, 1.0), (2.0, 3.0), (1.0, 5.0), (0.5, None)])
def test_a_curve_reaches_a_loss_between_its_bundles(loss: float, seconds: float | None) -> None:
    assert quality.Curve([1.0, 5.0, 6.0], [3.0, 1.0, 2.0]).reaches(loss) == seconds


def test_growth_is_measured_and_drawn(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, constants in (("encoding", SMALL["encoding"]), ("stream", {"_BLOCKS": 1})):
        for name, value in constants.items():
            monkeypatch.setattr(f"bench.{module}.{name}", value)
    figures = growth.measure(session, (20, 40))
    assert len(figures) == 5
    for stage, values in figures.items():
        assert len(values) == 2
        assert min(values) > 0 or stage.startswith("preprocessing"), stage
    growth.draw({"measured": "today", "rows": [20, 40], "figures": figures}, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_bare_loop_reads_every_note(session: Session) -> None:
    """It counts unclosed notes and repeated signs too, so a little more than the reader keeps; never less."""
    data, offsets = corpus.buffers(corpus.pieces(session.folder))
    kept = int(read_batch(data, offsets).columns.note_offsets[-1])
    assert kept <= event_loop(session.folder, data, offsets)() <= 1.05 * kept
    assert read(data, offsets, 1) == len(data)


def test_memory_is_what_a_process_fills() -> None:
    size = 64 << 20
    program = f"import time; kept = bytearray(b'x') * {size}; time.sleep(0.5)"
    plain = peak_bytes([sys.executable, "-c", "import time; time.sleep(0.2)"], os.environ)
    assert 0.9 * size <= peak_bytes([sys.executable, "-c", program], os.environ) - plain < 1.2 * size
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {program!r}])"
    assert peak_bytes([sys.executable, "-c", child], os.environ) >= size
    assert held_bytes() > 0
    with pytest.raises(subprocess.CalledProcessError):
        peak_bytes([sys.executable, "-c", "raise SystemExit(3)"], os.environ)


def test_the_table_has_the_figures_of_the_json() -> None:
    groups = results.parse(results.JSON_PATH.read_text(encoding="utf-8"))
    assert results.TABLE_PATH.read_text(encoding="utf-8") == results.render_table(groups)
