"""What the tests of runs share."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from midigpt_core.training.keeping.checkpoints import first_whole
from midigpt_core.training.planning.resume import resume_candidates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from midigpt_core.config import TrainConfig

    #: The fixture ``configure``.
    Configure = Callable[..., TrainConfig]


def write_shard(path: Path, files: Sequence[Path]) -> Path:
    """A GigaMIDI-shaped parquet file."""
    pq.write_table(
        pa.table(
            {
                "md5": [file.stem for file in files],
                "music": [file.read_bytes() for file in files],
                "music_style_scraped": ["rock%2C%20jazz" for _ in files],
            }
        ),
        path,
    )
    return path


def run_state(**content: Any) -> dict[str, Any]:
    """The least that a checkpoint holds to be the state of a run, and ``content``."""
    empty: dict[str, Any] = {name: {} for name in ("midigpt", "state_dict", "loops", "callbacks")}
    return {**empty, "global_step": 0, "optimizer_states": [], "lr_schedulers": [], **content}


def checkpoint_for(resume: str | Path | None, folder: Path) -> Path | None:
    """The checkpoint that a run continues from."""
    return first_whole(resume_candidates(resume, folder))


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    """The optimiser steps in ``metrics.jsonl``."""
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if "loss" in record]


def evaluations(run_dir: Path) -> list[dict[str, Any]]:
    """The evaluations in ``metrics.jsonl``."""
    lines = (run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if "eval_loss" in record]


def curve(run_dir: Path) -> list[tuple[int, float, float, float]]:
    """What must be bit for bit the same: step, loss, gradient norm, learning rate."""
    return [(line["step"], line["loss"], line["gradient_norm"], line["learning_rate"]) for line in metrics(run_dir)]
