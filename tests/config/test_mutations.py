"""Forty ways to get a configuration wrong: each is refused with the key's path, and the nearest name if one is near."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from midigpt_core.config import TrainConfig
from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

VALID: dict[str, Any] = {"encoder_config_path": "yellow", "n_embd": 64, "n_head": 4, "batch_size": 2}

#: What is changed in a valid configuration, and what the error must say.
MUTATIONS: list[tuple[dict[str, Any], list[str]]] = [
    # unknown keys
    ({"batch_sze": 4}, ["batch_sze", "'batch_size'"]),
    ({"learning_rte": 1e-3}, ["learning_rte", "'learning_rate'"]),
    ({"n_layers": 4}, ["n_layers", "'n_layer'"]),
    ({"max_step": 4}, ["max_step", "'max_steps'"]),
    ({"mask_moda": 1}, ["mask_moda", "'mask_mode'"]),
    ({"Seed": 1}, ["Seed", "'seed'"]),
    ({"zzz": 1}, ["zzz", "midigpt config show"]),
    ({"per_device_batch_size": 4}, ["per_device_batch_size", "'batch_size'", "config convert"]),
    ({"lr_scheduler_type": "cosine"}, ["lr_scheduler_type", "'scheduler'", "config convert"]),
    # wrong types
    ({"batch_size": "16"}, ["batch_size", "an integer", "'16'"]),
    ({"batch_size": 3.9}, ["batch_size", "an integer", "3.9"]),
    ({"batch_size": True}, ["batch_size", "an integer", "true"]),
    ({"batch_size": None}, ["batch_size", "an integer", "null"]),
    ({"packing": "false"}, ["packing", "true or false", "'false'"]),
    ({"packing": 0}, ["packing", "true or false", "0"]),
    ({"learning_rate": "1e-4"}, ["learning_rate", "a number", "'1e-4'"]),
    ({"learning_rate": float("nan")}, ["learning_rate", "a number", "nan"]),
    ({"num_bars_choices": 8}, ["num_bars_choices", "a list", "8"]),
    ({"num_bars_choices": [4, "8"]}, ["num_bars_choices[1]", "an integer", "'8'"]),
    ({"output_dir": 7}, ["output_dir", "a string", "7"]),
    ({"mask": 2}, ["mask", "a string or a mapping", "2"]),
    # out of range
    ({"batch_size": 0}, ["batch_size", "at least 1", "0"]),
    ({"learning_rate": 0}, ["learning_rate", "greater than 0"]),
    ({"infill_probability": 1.5}, ["infill_probability", "at most 1", "1.5"]),
    ({"min_fill_ratio": -0.1}, ["min_fill_ratio", "at least 0", "-0.1"]),
    ({"adam_beta2": 1.0}, ["adam_beta2", "less than 1"]),
    ({"mask_mode": 3}, ["mask_mode", "at most 2", "3"]),
    ({"num_bars_choices": []}, ["num_bars_choices", "at least 1 value"]),
    ({"transpose_range": [6, -6]}, ["transpose_range", "ascend"]),
    ({"velocity_scale": [1.0]}, ["velocity_scale", "2 values"]),
    ({"seed": -1}, ["seed", "at least 0"]),
    # enumerations
    ({"precision": "fp61"}, ["precision", "fp16, bf16, fp32", "'fp16'"]),
    ({"scheduler": "cosin"}, ["scheduler", "'cosine'"]),
    # settings that contradict one another
    ({"max_seq_len": 4096}, ["max_seq_len", "4096", "n_positions = 2048"]),
    ({"n_embd": 66}, ["n_embd", "66", "n_head = 4"]),
    ({"min_tracks": 5}, ["min_tracks", "5", "max_tracks = 4"]),
    # two spellings of one thing
    ({"mask_mode": 1, "mask": "mixed"}, ["mask_mode = 1 (structured", "mask = 'mixed'", "Keep one"]),
    (
        {"encoder": {"name": "midigpt", "config": "ghost"}},
        ["encoder_config_path = 'yellow'", "encoder.config = 'ghost'"],
    ),
    ({"encoder": "acme"}, ["encoder_config_path", "encoder = 'acme'"]),
    (
        {"mask_max_lookahead": 2, "mask": {"name": "structured", "max_lookahead": 3}},
        ["mask_max_lookahead = 2", "mask.max_lookahead = 3"],
    ),
    (
        {"mask_bar_fraction": 0.5, "mask": {"name": "random", "bar_fraction": 0.25}},
        ["mask_bar_fraction = 0.5", "mask.bar_fraction = 0.25"],
    ),
    ({"architecture": "llama"}, ["n_embd", "architecture = 'llama'"]),
    ({"architecture": {"name": "gpt2", "n_embd": 128}}, ["n_embd = 64", "architecture.n_embd = 128"]),
    ({"output_dir": ""}, ["output_dir", "empty"]),
]


def refusal(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_mapping(values, "c.json").validate()
    return str(caught.value)


def test_the_configuration_that_is_mutated_is_valid() -> None:
    TrainConfig.from_mapping(VALID, "c.json").validate()
    assert len(MUTATIONS) >= 40


@pytest.mark.parametrize(
    ("change", "expected"), MUTATIONS, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
def test_refused_with_path_and_nearest_name(change: dict[str, Any], expected: list[str]) -> None:
    message = refusal(VALID | change)
    assert [part for part in expected if part not in message] == []
    assert "\n" not in message


def test_every_problem_is_told_at_once() -> None:
    message = refusal({"batch_sze": 1, "seed": "x", "precision": "fp8"})
    assert message.startswith("c.json: 3 problems:")
    assert all(key in message for key in ("batch_sze", "seed", "precision"))


def test_json_yaml_and_toml_say_the_same(tmp_path: Path) -> None:
    values = VALID | {"learning_rate": 3e-4, "packing": False, "mask": {"name": "structured", "max_lookahead": 3}}
    (tmp_path / "c.json").write_text(json.dumps(values))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(values))
    (tmp_path / "c.toml").write_text(
        'encoder_config_path = "yellow"\nn_embd = 64\nn_head = 4\nbatch_size = 2\nlearning_rate = 3e-4\n'
        "packing = false\n"
        '[mask]\nname = "structured"\nmax_lookahead = 3\n'
    )
    assert tomllib.loads((tmp_path / "c.toml").read_text()) == values
    configs = [TrainConfig.from_file(tmp_path / f"c.{kind}") for kind in ("json", "yaml", "toml")]
    assert configs[0] == configs[1] == configs[2]
    assert configs[0].choice("mask") == {"name": "structured", "max_lookahead": 3}


@pytest.mark.parametrize("kind", ["json", "yaml", "toml"])
def test_a_mistake_is_refused_alike_in_every_format(tmp_path: Path, kind: str) -> None:
    texts = {"json": '{"batch_sze": 4}', "yaml": "batch_sze: 4\n", "toml": "batch_sze = 4\n"}
    path = tmp_path / f"c.{kind}"
    path.write_text(texts[kind])
    with pytest.raises(ConfigError, match=rf"{path.name}: batch_sze: unknown key\. Did you mean 'batch_size'\?"):
        TrainConfig.from_file(path)
