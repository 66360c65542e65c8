"""Files of midigpt 0.4.2 under today's names."""

from __future__ import annotations

from midigpt_core.config import TrainConfig
from midigpt_core.config.convert import convert
from midigpt_core.config.train import setting_names

NAMES = frozenset(setting_names())


def test_renamed_and_left_out() -> None:
    old = {
        "n_embd": 256,
        "per_device_batch_size": 4,
        "lr_scheduler_type": "linear",
        "gradient_accumulation_steps": 8,
        "num_epochs": 3,
        "logger": "wandb",
        "wandb_project": "songs",
        "bf16": True,
        "mystery": 1,
    }
    conversion = convert(old, NAMES)
    assert conversion.values == {
        "n_embd": 256,
        "batch_size": 4,
        "scheduler": "linear",
        "accumulation": 8,
        "logger": {"name": "wandb", "project": "songs"},
        "precision": "bf16",
    }
    assert conversion.renamed["per_device_batch_size"] == "batch_size"
    assert set(conversion.left_out) == {"num_epochs", "mystery"}
    assert "max_steps" in conversion.left_out["num_epochs"]
    TrainConfig.from_mapping(conversion.values, "old.json").validate()


def test_todays_name_wins_over_the_old_one() -> None:
    conversion = convert({"per_device_batch_size": 4, "batch_size": 2}, NAMES)
    assert conversion.values == {"batch_size": 2}
    assert "kept" in conversion.left_out["per_device_batch_size"]


def test_a_wandb_project_without_wandb_has_no_counterpart() -> None:
    conversion = convert({"wandb_project": "songs", "logger": "none"}, NAMES)
    assert conversion.values == {"logger": "none"}
    assert "wandb_project" in conversion.left_out
