"""``midigpt plugins new`` for what is no component: a command and a callback."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midigpt_core.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Sequence

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
SETTINGS = {
    "encoder-config": "yellow", "architecture": "llama", "n-embd": 32, "n-head": 2, "n-layer": 1, "max-seq-len": 128,
    "batch-size": 2, "warmup-steps": 1, "max-steps": 40, "eval-steps": 1, "eval-rows": 2, "precision": "fp32",
    # The loss goes up, so no evaluation after the first ones is better.
    "learning-rate": 3,
}  # fmt: skip


def new(kind: str, folder: Path, name: str = "acme") -> Path:
    assert main(["plugins", "new", name, "--kind", kind, "--folder", str(folder)]) == 0
    return folder / f"midigpt-plugin-{name}"


def installed(distribution: Path, entry_points: str) -> dict[str, str]:
    """The environment of a process that sees the distribution as if it were installed."""
    info = distribution / "midigpt_plugin_acme-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: midigpt-plugin-acme\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(entry_points)
    return {**os.environ, "PYTHONPATH": str(distribution), "OMP_NUM_THREADS": "1"}


def run(arguments: Sequence[str], environment: dict[str, str], cwd: Path) -> str:
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def points_of(distribution: Path) -> str:
    """The entry points of ``pyproject.toml`` in the form of ``entry_points.txt``."""
    project = tomllib.loads((distribution / "pyproject.toml").read_text())["project"]
    ((group, points),) = project["entry-points"].items()
    return f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())


def test_a_command_is_part_of_midigpt(tmp_path: Path) -> None:
    distribution = new("command", tmp_path)
    environment = installed(distribution, points_of(distribution))
    assert "1 passed" in run(["pytest", "-q"], environment, distribution)
    assert "acme" in run(["midigpt", "--help"], environment, tmp_path)
    song = MIDI / "mutopia_bach_invention_08.mid"
    lines = run(["midigpt", "acme", str(song)], environment, tmp_path).splitlines()
    assert [line.split()[-1] for line in lines] == ["notes", "notes"]
    assert not (distribution / "midigpt_plugin_acme" / "plugin.py").exists()


def test_a_callback_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    distribution = new("callback", tmp_path)
    environment = installed(distribution, points_of(distribution)) | {"MIDIGPT_CACHE": str(tmp_path / "cache")}
    assert "passed" in run(["pytest", "-q"], environment, distribution)
    settings = [part for name, value in SETTINGS.items() for part in (f"--{name}", str(value))]
    run(["midigpt", "train", str(MIDI), "-o", "run", *settings], environment, tmp_path)
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [record["eval_loss"] for record in records if "eval_loss" in record]
    assert losses.index(min(losses)) == len(losses) - 4
    assert len(losses) < 40
    assert (tmp_path / "run" / "model_final.pt").is_file()


@pytest.mark.parametrize("name", ["train", "serve"])
def test_a_command_that_is_there_is_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.metadata.entry_points(group="midigpt_core.commands")
    assert main(["plugins", "new", name, "--kind", "command", "--folder", str(tmp_path)]) == 2
    assert f"'{name}' is the name of a command of midigpt" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
