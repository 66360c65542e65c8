"""Training: the whole pipeline beside a bare loop and beside the peer's trainer, in real tokens per second."""

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
from bench.measure import take_turns
from bench.peer_process import TurnProcess
from bench.rows import PEER, Row, at_most, ratio_at_least
from midigpt_core.cores import available_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session

#: Of all sides.
_SHARED = {"precision": "fp32", "max_tracks": 4, "mask_apply_probability": 0.0, "warmup_steps": 100}
_ENCODER = Path(__file__).parents[1] / "plugins" / "midigpt_encoder" / "presets" / "yellow.json"


@frozen(kw_only=True)
class _Shape:
    """A size of model and rows."""

    width: int
    layers: int
    heads: int
    length: int
    batch_size: int
    #: Optimiser steps of a turn, and the least ratio to the peer.
    steps: int
    peer_ratio: float

    @property
    def name(self) -> str:
        return f"{self.width}/{self.layers}/{self.heads}, rows of {self.length}"

    def config(self) -> dict[str, Any]:
        """In the names that both sides know."""
        sizes = {"n_embd": self.width, "n_layer": self.layers, "n_head": self.heads, "max_seq_len": self.length}
        return {**_SHARED, **sizes, "batch_size": self.batch_size}


_SHAPES = (
    _Shape(width=128, layers=2, heads=4, length=512, batch_size=16, steps=8, peer_ratio=4.0),
    _Shape(width=512, layers=6, heads=8, length=2048, batch_size=4, steps=1, peer_ratio=1.9),
)


def rows(session: Session) -> Iterator[Row]:
    parquet = _parquet(session.folder)
    for shape in _SHAPES:
        yield from _beside_a_bare_loop(session, parquet, shape)
        yield _beside_the_peer(session, parquet, shape)


def _beside_a_bare_loop(session: Session, parquet: Path, shape: _Shape) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        sides = {
            side: running.enter_context(_side(session, side, parquet, shape, Path(folder), threads=1))
            for side in ("pipeline", "bare")
        }
        measured = take_turns(sides, session.repeats)
        waited = _data_wait(Path(folder) / "pipeline" / "metrics.jsonl")
    how = f"{_how(shape)}; one thread, processor seconds, no data worker"
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
        ours=100 * waited,
        required=at_most(2),
        how=f"{how}, so that blocks are drawn, encoded and packed while the step waits",
    )


def _beside_the_peer(session: Session, parquet: Path, shape: _Shape) -> Row:
    threads = available_cores()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as running:
        arguments = (parquet, _ENCODER, json.dumps(shape.config()), f"{folder}/peer", shape.steps, threads)
        sides = {
            "ours": running.enter_context(_side(session, "pipeline", parquet, shape, Path(folder), threads=threads)),
            "peer": running.enter_context(session.peer("training.py", *arguments)),
        }
        measured = take_turns(sides, session.repeats)
    return Row.of(
        f"midigpt train, {shape.name}, beside the peer's trainer",
        "tokens/s",
        measured["ours"],
        measured.get("peer"),
        against=PEER,
        required=ratio_at_least(shape.peer_ratio),
        how=f"{_how(shape)}; the same pieces and settings on both sides, {threads} threads, seconds on the clock, "
        "no data worker; padding counts for neither",
    )


def _how(shape: _Shape) -> str:
    return f"{shape.batch_size} rows a batch, fp32, yellow, {shape.steps} optimiser steps a turn"


def _side(session: Session, side: str, parquet: Path, shape: _Shape, folder: Path, *, threads: int) -> TurnProcess:
    config = {**shape.config(), "n_positions": shape.length, "encoder_config_path": "yellow", "max_steps": 1_000_000}
    arguments = (side, parquet, json.dumps(config), folder / side, shape.steps, threads)
    command = [sys.executable, "-m", "bench.training_process", *map(str, arguments)]
    return TurnProcess(f"bench/training_process.py ({side})", command, cache=session.folder / "cache")


def _data_wait(metrics: Path) -> float:
    """Share of the steps' time. The first step waits for the corpus to be opened."""
    steps = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()][1:]
    return float(sum(step["data_wait"] for step in steps) / sum(step["seconds"] for step in steps))


def _parquet(folder: Path) -> Path:
    """The bench corpus with numbers of notes, without which the peer takes no row."""
    path = folder / f"training-{corpus.VERSION}.parquet"
    if not path.exists():
        table = corpus.pieces(folder)
        place = table.schema.get_field_index("total_notes")
        known = pa.array([1000] * len(table), pa.int64())
        corpus.write_parquet(path, table.set_column(place, table.schema.field(place), known))
    return path
