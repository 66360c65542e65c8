"""Training: the whole pipeline compared with a bare loop and the baseline's trainer, in real tokens per second."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from attrs import frozen

from bench import corpus
from bench.baseline_process import TurnProcess
from bench.measure import take_turns
from bench.rows import BASELINE, Row, at_most, ratio_at_least
from midigpt_core.cores import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session

#: Of all sides.
_SHARED = {"precision": "fp32", "max_tracks": 4, "mask_apply_probability": 0.0, "warmup_steps": 100}
_ENCODER = Path(__file__).parents[1] / "plugins" / "midigpt_encoder" / "presets" / "yellow.json"


@frozen(kw_only=True)
class _Shape:
    """A size of model and rows, and how much of it is trained at a time."""

    width: int
    layers: int
    heads: int
    length: int
    #: Rows a batch and optimiser steps a turn: against the bare loop, of ours against the baseline, of the baseline.
    bare: tuple[int, int]
    ours: tuple[int, int]
    baseline: tuple[int, int]
    #: More turns than this would take minutes.
    most_turns: int
    #: Least ratio to the baseline.
    ratio: float

    @property
    def name(self) -> str:
        return f"{self.width}/{self.layers}/{self.heads}, rows of {self.length}"

    def config(self, batch_size: int) -> dict[str, Any]:
        """In the names that both sides know."""
        sizes = {"n_embd": self.width, "n_layer": self.layers, "n_head": self.heads, "max_seq_len": self.length}
        return {**_SHARED, **sizes, "batch_size": batch_size}


#: The baseline has its default batch: 16 samples, each in a row of its own. A packed row holds several samples: 4 rows
#: of 2048 have about as many tokens as 16 windows.
_SHAPES = (
    _Shape(
        width=128,
        layers=2,
        heads=4,
        length=512,
        bare=(16, 6),
        ours=(16, 6),
        baseline=(16, 6),
        most_turns=6,
        ratio=4.0,
    ),
    _Shape(
        width=512,
        layers=6,
        heads=8,
        length=2048,
        bare=(2, 1),
        ours=(4, 1),
        baseline=(16, 1),
        most_turns=3,
        ratio=1.9,
    ),
)


def rows(session: Session) -> Iterator[Row]:
    parquet = _parquet(session.folder)
    for shape in _SHAPES:
        yield from _against_a_bare_loop(session, parquet, shape)
        yield _against_the_baseline(session, parquet, shape)


def _against_a_bare_loop(session: Session, parquet: Path, shape: _Shape) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        sides = {
            side: running.enter_context(
                _side(session, side, parquet, shape, turn=shape.bare, folder=Path(folder), threads=1)
            )
            for side in ("pipeline", "bare", "data")
        }
        measured = take_turns(sides, min(session.repeats, shape.most_turns))
    how = f"{_how(*shape.bare)}; one thread, processor seconds, no data worker"
    yield Row.of(
        f"midigpt train, {shape.name}",
        "tokens/s",
        measured["pipeline"],
        measured["bare"],
        against="bare loop",
        required=ratio_at_least(0.95),
        how=f"{how}; the bare loop goes over ready packed tensors: model, cross entropy, clipping, fused AdamW",
    )
    yield Row(
        name=f"waiting for data, {shape.name}",
        unit="% of a step",
        ours=100 * measured["pipeline"].median / measured["data"].median,
        required=at_most(2),
        how=f"{how}; drawing, encoding and packing a token, for which the step waits, compared with the whole step",
    )


def _against_the_baseline(session: Session, parquet: Path, shape: _Shape) -> Row:
    threads = available_cores()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        batch_size, steps = shape.baseline
        config = json.dumps(shape.config(batch_size))
        sides = {
            "ours": running.enter_context(
                _side(session, "pipeline", parquet, shape, turn=shape.ours, folder=Path(folder), threads=threads)
            ),
            "baseline": running.enter_context(
                session.baseline("training.py", parquet, _ENCODER, config, f"{folder}/baseline", steps, threads)
            ),
        }
        measured = take_turns(sides, min(session.repeats, shape.most_turns))
    return Row.of(
        f"midigpt train, {shape.name}, compared with the baseline's trainer",
        "tokens/s",
        measured["ours"],
        measured.get("baseline"),
        against=BASELINE,
        required=ratio_at_least(shape.ratio),
        how=f"{_how(*shape.ours)}, the baseline {batch_size} windows a batch, {steps} steps; the same pieces on both "
        f"sides, {threads} threads, seconds on the clock, no data worker; padding counts for neither",
    )


def _how(batch_size: int, steps: int) -> str:
    return f"{batch_size} rows a batch, fp32, yellow, {steps} optimiser steps a turn"


def _side(
    session: Session, side: str, parquet: Path, shape: _Shape, *, turn: tuple[int, int], folder: Path, threads: int
) -> TurnProcess:
    """``turn``: rows a batch, optimiser steps."""
    batch_size, steps = turn
    fixed = {"n_positions": shape.length, "encoder_config_path": "yellow", "max_steps": 1_000_000}
    arguments = (side, parquet, json.dumps({**shape.config(batch_size), **fixed}), folder / side, steps, threads)
    command = [sys.executable, "-m", "bench.training_process", *map(str, arguments)]
    return TurnProcess(f"bench/training_process.py ({side})", command, cache=session.folder / "cache")


def _parquet(folder: Path) -> Path:
    """The bench corpus with numbers of notes, without which the baseline takes no row."""
    path = folder / f"training-{corpus.VERSION}.parquet"
    if not path.exists():
        table = corpus.pieces(folder)
        place = table.schema.get_field_index("total_notes")
        known = pa.array([1000] * len(table), pa.int64())
        corpus.write_parquet(path, table.set_column(place, table.schema.field(place), known))
    return path
