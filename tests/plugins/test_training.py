"""Third-party components in a real run: they are trained with, and their bugs end it with their name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from midigpt_core.checkpoint import read_header
from midigpt_core.cli import main
from midigpt_core.config import TrainConfig
from midigpt_core.data.datasets import batches
from midigpt_core.plugins import Selection, load_registry, use_registry
from midigpt_core.training.planning.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("third_parties")

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"

LOCAL_MASK = """
import attrs
from midigpt_core import hookimpl
from midigpt_core.components import MaskSpec

MIDIGPT_API = 1

@hookimpl
def midigpt_masks():
    return [MaskSpec(name="nothing", summary="hides nothing", target="localnothing:build")]

class Nothing:
    def mask(self, valid, infill, keys):
        return valid & False

def build(options, context):
    return Nothing()
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Two tiny steps with every sample masked, and a cache of the test's own."""
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    return {
        "encoder_config_path": "ghost",
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 1,
        "n_positions": 512,
        "max_seq_len": 512,
        "num_bars_choices": [4],
        "batch_size": 2,
        "max_steps": 2,
        "warmup_steps": 1,
        "mask_apply_probability": 1.0,
        "precision": "fp32",
        "output_dir": str(tmp_path / "run"),
    }


@pytest.fixture
def train(config: dict[str, Any], tmp_path: Path) -> Callable[..., int]:
    """``midigpt train`` on the folder of test files, through the installed source ``folder``."""

    def run(*flags: str, **settings: object) -> int:
        (tmp_path / "config.json").write_text(json.dumps(config | settings))
        return main(
            [
                "train",
                "--plugin",
                "folder",
                "--config",
                str(tmp_path / "config.json"),
                "--train-data",
                str(MIDI),
                *flags,
            ]
        )

    return run


def test_a_config_trains_with_a_mask_and_a_source_of_third_parties(train: Callable[..., int], tmp_path: Path) -> None:
    assert train(mask={"name": "acme/swing", "period": 3}) == 0
    header = read_header(tmp_path / "run" / "model_final.pt")
    told = json.dumps(dict(header.provenance), default=str)
    assert "midigpt-plugin-acme" in told
    assert "midigpt-plugin-folder" in told


def test_a_component_that_raises_in_mid_training(train: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--mask", "bomb") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("Error: mask 'bomb' of midigpt-plugin-bomb 0.1 failed (")
    assert "RuntimeError: boom in hide" in line


def test_an_ambiguous_name_and_a_wrong_option_are_told_before_anything_is_read(
    train: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("--mask", "swing") == 2
    assert "Use --mask acme/swing or --mask zed/swing." in capsys.readouterr().err
    assert train("--mask", "acme/swing", "--set", "mask.perod=3") == 2
    assert "mask.perod: unknown option. Did you mean 'period'?" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_a_spawned_data_worker_resolves_a_component_of_a_plugins_dir(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A spawned worker begins without this process's modules, plugins and search path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "localnothing.py").write_text(LOCAL_MASK)
    use_registry(load_registry(Selection(plugins=("folder",), plugin_dirs=(str(tmp_path / "local"),))))
    plan = prepare(TrainConfig(**config, source="folder", mask="nothing"), str(MIDI))
    settings = {"batch_size": 2, "first_row": 0}
    here = next(iter(batches(plan.training, **settings)))
    spawned = next(iter(batches(plan.training, **settings, num_workers=1, start_method="spawn")))
    assert torch.equal(here["input_ids"], spawned["input_ids"])


def test_commands_of_other_distributions(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hello", "--name", "swing"]) == 0
    assert capsys.readouterr().out == "hello swing\n"
    assert main(["goodbye"]) == 2
    assert "command 'goodbye' (midigpt-hello 0.1) cannot be used: RuntimeError: not today." in capsys.readouterr().err
    assert main(["greet"]) == 2
    told = capsys.readouterr().err
    assert "command 'greet' is provided by" in told
    assert "midigpt-greet 3.0" in told
    assert "midigpt-hello 0.1" in told
    # A command of ours keeps its name.
    assert main(["train"]) == 2
    assert "Missing option '--train-data'" in capsys.readouterr().err
