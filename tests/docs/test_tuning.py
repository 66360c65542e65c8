"""``examples/tune.py``: a search of two real runs, and a trial that is stopped for falling behind."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
MIDI = ROOT / "tests" / "data" / "midi"
SCRIPT = ROOT / "examples" / "tune.py"
SETTINGS = {
    "encoder-config": "yellow", "architecture": "llama", "n-embd": 32, "n-head": 2, "max-seq-len": 128, "eval-rows": 2,
    "batch-size": 2, "warmup-steps": 1, "eval-steps": 2, "save-steps": 1000, "precision": "fp32",
}  # fmt: skip
ARGUMENTS = [part for name, value in SETTINGS.items() for part in (f"--{name}", str(value))]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))


def script() -> ModuleType:
    spec = spec_from_file_location("tune", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def evaluations(run: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if "eval_loss" in record]


def test_a_search_goes_on_where_it_ended(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(MIDI), "-o", str(tmp_path / "search"), "--trials", "1", "--"]
    for _ in range(2):
        done = subprocess.run([*command, *ARGUMENTS, "--max-steps", "4"], capture_output=True, text=True, check=True)
    last = [evaluations(tmp_path / "search" / f"trial{number}")[-1] for number in range(2)]
    assert [record["step"] for record in last] == [4, 4]
    best = min(record["eval_loss"] for record in last)
    assert "The best of 2 trials is" in done.stdout
    assert f"evaluation loss {best:.4f} with" in done.stdout
    learning_rates = {
        json.loads((tmp_path / "search" / f"trial{number}" / "config.json").read_text())["learning_rate"]
        for number in range(2)
    }
    assert len(learning_rates) == 2


def test_a_trial_that_falls_behind_is_stopped_and_can_be_resumed(tmp_path: Path) -> None:
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0))
    with pytest.raises(optuna.TrialPruned, match=r"evaluation loss \d\.\d+ at step 2"):
        script().loss_of(study.ask(), [str(MIDI)], tmp_path, [*ARGUMENTS, "--max-steps", "100000"])
    run = tmp_path / "trial0"
    assert evaluations(run)[0]["step"] == 2
    assert list((run / "checkpoints").glob("step*.ckpt"))
    assert not (run / "model_final.pt").exists()


def test_a_run_that_fails_ends_the_search(tmp_path: Path) -> None:
    study = optuna.create_study()
    with pytest.raises(RuntimeError, match="trial 0 ended with exit code 2 after 0 evaluations"):
        script().loss_of(study.ask(), [str(MIDI)], tmp_path, ["--max-steps", "none"])
