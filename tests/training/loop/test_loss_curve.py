"""A kept loss curve: what a refactoring must not change, to the bit.

``python tests/training/loop/test_loss_curve.py`` writes it again; a change of it is a change of what runs compute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch

from midigpt_core.files import write_text

TESTS = Path(__file__).parents[2]
KEPT = TESTS / "data" / "loss_curve.json"
#: Plain kernels and one thread: sums in the same order on every x86-64 processor.
PLAIN_ARITHMETIC = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBILITY",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
CONFIG = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 256,
    "max_seq_len": 256,
    "max_tracks": 3,
    "batch_size": 2,
    "accumulation": 2,
    "optimizer": "adamw",
    "max_steps": 8,
    "warmup_steps": 2,
    "learning_rate": 1e-2,
    "precision": "fp32",
    "eval_steps": 4,
    "eval_rows": 4,
    "infill_positions": "sequence",
}
MEASURED = ("step", "loss", "gradient_norm", "learning_rate", "tokens", "eval_loss", "eval_loss_infill")


def loss_curve(folder: Path) -> list[dict[str, Any]]:
    """The figures of ``metrics.jsonl`` after a run on the MIDI files of the tests."""
    config = folder / "config.json"
    write_text(config, json.dumps(CONFIG))
    music = str(TESTS / "data" / "midi")
    command = [sys.executable, "-m", "midigpt.training.trainer", "--config", str(config), "--plugin", "midifiles"]
    paths = ["--train-data", music, "--eval-data", music, "--output-dir", str(folder / "run")]
    environment = {**os.environ, **PLAIN_ARITHMETIC, "MIDIGPT_CACHE": str(folder / "cache")}
    ended = subprocess.run([*command, *paths], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{name: line[name] for name in MEASURED if name in line} for line in map(json.loads, lines)]


def test_the_loss_curve_is_the_kept_one(tmp_path: Path) -> None:
    kept = json.loads(KEPT.read_text(encoding="utf-8"))
    measured = loss_curve(tmp_path)
    assert len(measured) == len(kept["curve"])
    if torch.__version__.split("+")[0] == kept["torch"]:
        assert measured == kept["curve"]
    else:  # Another release of torch may order its sums in another way.
        for line, expected in zip(measured, kept["curve"], strict=True):
            assert line == pytest.approx(expected, rel=1e-3)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        content = {"torch": torch.__version__.split("+")[0], "curve": loss_curve(Path(scratch))}
    write_text(KEPT, json.dumps(content, indent=1) + "\n")
