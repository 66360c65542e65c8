"""The script for a GPU runs here with tiny sizes, so that on its day it cannot fail for a typo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import torch

from bench import gpu

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_the_rehearsal_measures_every_part(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    done = subprocess.run(
        [pytestconfig.rootpath / "bench" / "gpu.sh", "--rehearse", "--out", tmp_path],
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert {name: part["error"] for name, part in report["parts"].items()} == dict.fromkeys(gpu.PARTS), done.stderr
    assert done.returncode == 0, done.stdout
    figures = {figure["name"]: figure for part in report["parts"].values() for figure in part["figures"]}
    assert {figure["value"] is None for name, figure in figures.items() if not name.endswith("MFU")} == {False}
    assert figures["gpt2, blocks: error of the logits"]["value"] < 1e-4
    assert "waiting for data, 2 data workers" in done.stdout
    assert done.stdout == (tmp_path / "gpu.txt").read_text(encoding="utf-8")


def figures_then(act: str) -> gpu.Part:
    def part(sizes: gpu.Sizes, device: torch.device) -> Iterator[gpu.Figure]:
        yield gpu.Figure(name="before", value=1.0, unit="s")
        if act == "raise":
            raise ValueError("a reason\nand more")
        if act == "hang":
            time.sleep(60)
        if act == "crash":
            os._exit(3)

    return part


@pytest.mark.parametrize(
    ("act", "error"),
    [
        ("raise", "ValueError: a reason"),
        ("hang", "took longer than its 2 seconds"),
        ("crash", "the process ended without a word"),
        ("end", None),
    ],
)
def test_what_befalls_a_part_costs_only_what_it_had_not_measured(
    act: str, error: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(gpu.PARTS, "stall", (figures_then(act), 2))
    found = gpu.run_part("stall", gpu.TINY, "cpu", 2, tmp_path / "log")
    assert (found["error"], [figure["name"] for figure in found["figures"]]) == (error, ["before"])
    assert "a reason" in (tmp_path / "log").read_text() or act != "raise"


def test_a_wrong_figure_is_marked_and_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(sizes: gpu.Sizes, device: torch.device) -> Iterator[gpu.Figure]:
        yield gpu.Figure(name="error", value=0.5, unit="relative", limit=0.1)

    monkeypatch.setitem(gpu.PARTS, "correctness", (wrong, 2))
    monkeypatch.setattr(sys, "argv", ["gpu", "--rehearse", "--out", str(tmp_path), "correctness"])
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path))
    assert gpu.main() == 1
    assert "0.5 relative | 0.1 **WRONG**" in capsys.readouterr().out


def test_a_machine_without_a_gpu_says_how_to_rehearse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="2"):
        gpu.main()
    assert "no GPU. --rehearse" in capsys.readouterr().err


def test_the_parts_fit_in_eight_minutes_with_the_build() -> None:
    assert sum(seconds for _, seconds in gpu.PARTS.values()) <= 420
    assert gpu._SECONDS <= 420
