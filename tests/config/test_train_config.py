"""Defaults, origins, and what short spellings mean."""

from __future__ import annotations

import copy
import pickle

import pytest

from midigpt_core.config import TrainConfig, apply_overrides
from midigpt_core.errors import ConfigError
from midigpt_core.kinds import RUN_KINDS

#: Names and defaults that are documented and must stay.
DOCUMENTED = {
    "encoder_config_path": "",
    "n_embd": 512,
    "n_layer": 6,
    "n_head": 8,
    "n_positions": 2048,
    "max_seq_len": 2048,
    "num_bars_choices": [4, 8],
    "min_tracks": 1,
    "max_tracks": 4,
    "min_fill_ratio": 0.75,
    "infill_probability": 0.75,
    "infill_bar_fraction": 0.5,
    "mask_apply_probability": 0.5,
    "mask_mode": 2,
    "learning_rate": 1e-4,
    "batch_size": 16,
    "max_steps": 100_000,
    "warmup_steps": 1000,
    "precision": "fp16",
    "num_workers": 0,
    "save_steps": 5000,
    "eval_steps": 1000,
    "logger": "none",
    "output_dir": "checkpoints",
}


def test_documented_defaults() -> None:
    values = TrainConfig().to_dict()
    assert {name: values[name] for name in DOCUMENTED} == DOCUMENTED
    TrainConfig().validate()


def test_where_each_value_came_from() -> None:
    config = TrainConfig.from_mapping({"batch_size": 4, "seed": 3, "mask": {"name": "structured"}}, "train.json")
    config.output_dir = "runs/001"
    apply_overrides(config, ["seed=5", "mask.max_lookahead=8"])
    assert {name: config.origins[name] for name in ("batch_size", "seed", "output_dir", "n_embd")} == {
        "batch_size": "train.json",
        "seed": "--set",
        "output_dir": "assignment",
        "n_embd": "default",
    }
    assert config.origins["mask"] == "train.json"
    assert config.origins["mask.max_lookahead"] == "--set"
    assert config.set_fields == {"batch_size", "seed", "output_dir", "mask"}
    assert TrainConfig(max_steps=3).origins["max_steps"] == "keyword"


def test_a_whole_block_replaces_the_origins_of_its_options() -> None:
    config = TrainConfig()
    apply_overrides(config, ["mask.max_lookahead=8"])
    config.mask = "random"
    assert "mask.max_lookahead" not in config.origins


def test_a_default_set_on_purpose_counts_as_set() -> None:
    assert TrainConfig(mask_apply_probability=0.5).set_fields == {"mask_apply_probability"}


def test_assignment_is_checked() -> None:
    config = TrainConfig()
    with pytest.raises(ConfigError, match="batch_size: expected an integer"):
        config.batch_size = "4"  # type: ignore[assignment]
    assert config.batch_size == 16
    assert config.set_fields == frozenset()
    with pytest.raises(AttributeError):
        config.batch_sze = 4  # type: ignore[attr-defined]


def test_an_update_with_an_error_changes_nothing() -> None:
    config = TrainConfig()
    with pytest.raises(ConfigError):
        config.update({"seed": 7, "batch_size": 0}, "x.json")
    assert config == TrainConfig()


def test_copies_keep_values_and_origins() -> None:
    config = TrainConfig(seed=5, mask={"name": "random", "bar_fraction": 0.5})
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
        assert twin.origins == config.origins
    assert TrainConfig.from_mapping(config.to_dict(), "f").to_dict() == config.to_dict()


def test_defaults_are_not_shared() -> None:
    TrainConfig().num_bars_choices.append(16)
    assert TrainConfig().num_bars_choices == [4, 8]


@pytest.mark.parametrize(("mode", "name"), [(0, "random"), (1, "structured"), (2, "mixed")])
def test_mask_mode_chooses_the_mask(mode: int, name: str) -> None:
    config = TrainConfig(mask_mode=mode, mask_bar_fraction=0.5, mask_max_lookahead=2)
    options = {"random": {"bar_fraction": 0.5}, "structured": {"max_lookahead": 2}}
    options["mixed"] = options["random"] | options["structured"]
    assert config.choice("mask") == {"name": name, **options[name]}


def test_spellings_that_agree_are_accepted() -> None:
    config = TrainConfig(mask_mode=1, mask="structured", n_embd=64, architecture={"name": "gpt2", "n_embd": 64})
    config.validate()
    assert config.choice("mask")["name"] == "structured"
    assert TrainConfig(mask_mode=1, mask="masking/structured").choice("mask")["max_lookahead"] == 4


def test_the_stronger_spelling_holds() -> None:
    config = TrainConfig.from_mapping({"mask_mode": 1, "mask_max_lookahead": 2}, "c.json")
    apply_overrides(config, ["mask=mixed"], origin="--mask")
    assert config.choice("mask")["name"] == "mixed"
    apply_overrides(config, ["mask.max_lookahead=7"])
    assert config.choice("mask")["max_lookahead"] == 7

    config = TrainConfig.from_mapping({"mask": {"name": "structured", "max_lookahead": 2}}, "c.json")
    apply_overrides(config, ["mask_mode=0"])
    assert config.choice("mask")["name"] == "random"


def test_a_component_of_another_plugin_gets_only_its_own_options() -> None:
    config = TrainConfig(mask={"name": "acme/structured", "depth": 2}, architecture="acme/rnn")
    assert config.choice("mask") == {"name": "acme/structured", "depth": 2}
    assert config.choice("architecture") == {"name": "acme/rnn"}


def test_a_short_spelling_is_not_silently_ignored() -> None:
    with pytest.raises(ConfigError, match=r"mask_bar_fraction .* and mask = 'swing' .* do not go together"):
        TrainConfig(mask="swing", mask_bar_fraction=0.5).choice("mask")


def test_encoder_choices() -> None:
    assert TrainConfig().choice("encoder") == {"name": "midigpt"}
    assert TrainConfig(encoder_config_path="ghost").choice("encoder") == {"name": "midigpt", "config": "ghost"}
    assert TrainConfig(encoder="remi").choice("encoder") == {"name": "remi"}


def test_a_block_without_a_name_adds_options_to_the_default() -> None:
    config = TrainConfig(mask_mode=1)
    apply_overrides(config, ["mask.max_lookahead=9"])
    config.validate()
    assert config.choice("mask") == {"name": "structured", "max_lookahead": 9}


def test_set_values_configure_the_same_run_again() -> None:
    written = {
        "mask_mode": 1,
        "mask_max_lookahead": 2,
        "n_embd": 64,
        "architecture": {"name": "gpt2", "n_head": 4},
        "encoder_config_path": "ghost",
        "seed": 3,
    }
    config = TrainConfig.from_mapping(written, "c.json")
    apply_overrides(config, ["mask=acme/swing", "mask.period=3"], origin="--set")
    config.max_steps = 7
    again = TrainConfig.from_mapping(config.set_values(), "again.json")
    again.validate()
    for kind in RUN_KINDS:
        assert again.choice(kind) == config.choice(kind)
    assert (again.seed, again.max_steps) == (3, 7)
    assert again.set_values() == config.set_values()
    # Saving a configuration does not turn its defaults into settings made on purpose.
    assert "mask_apply_probability" not in again.set_fields


def test_nothing_set_saves_nothing() -> None:
    assert TrainConfig().set_values() == {}
    assert TrainConfig(seed=1).set_values() == {"seed": 1}


def test_null_is_the_same_as_leaving_out() -> None:
    config = TrainConfig.from_mapping({"mask": None, "encoder": None, "mask_mode": 1}, "c.json")
    assert config.set_fields == {"mask_mode"}
    config.mask = "swing"
    apply_overrides(config, ["mask=null"])
    assert config.set_fields == {"mask_mode"}
    assert config.choice("mask")["name"] == "structured"
