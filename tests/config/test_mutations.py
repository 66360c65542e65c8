"""Forty ways to get a configuration wrong: each is refused with the key's path, and the nearest name if one is near."""

from __future__ import annotations

import json
import time
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
    ({"batch_size": 2**31}, ["batch_size", "at most 2147483647", "2147483648"]),
    ({"seed": 2**63}, ["seed", "at most 9223372036854775807"]),
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
    ({"architecture": "acme"}, ["n_embd", "architecture = 'acme'"]),
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


def test_of_many_unknown_keys_the_first_are_named_and_the_rest_counted() -> None:
    begin = time.process_time()
    message = refusal({f"key{number}": 1 for number in range(200_000)})
    nested = refusal({"train_sets": [{"paths": "a"} | {f"key{number}": 1 for number in range(50_000)}]})
    assert time.process_time() - begin < 5
    assert message.startswith("c.json: 200,000 problems: (1) key0: unknown key.")
    assert "(20) key19: unknown key." in message
    assert message.endswith("And 199,980 more.")
    assert "key20" not in message
    assert "train_sets[0]: 49,981 more unknown options" in nested
    assert len(nested) < 10_000


def test_values_that_hold_themselves_a_thousand_million_times_are_spelled_at_once() -> None:
    laugh: Any = ["x"] * 10
    for _ in range(12):
        laugh = [laugh] * 10
    begin = time.process_time()
    for field in ("learning_rate", "train_sets", "scheduler", "freeze", "logger", "num_bars_choices"):
        assert field in refusal({field: laugh})
    assert time.process_time() - begin < 2
    assert len(refusal({"x" * 10**6: 1})) < 1000


#: What no JSON says, but YAML or a program's own values can.
ODD: list[tuple[dict[Any, Any], list[str]]] = [
    ({"batch_size": 10**5000}, ["batch_size", "an integer", "an integer of 16,610 bits"]),
    ({"learning_rate": 10**5000}, ["learning_rate", "a number", "an integer of 16,610 bits"]),
    ({"train_sets": [{"paths": "a", "weight": 10**400}]}, ["train_sets[0].weight", "a number"]),
    ({"num_bars_choices": [10**5000]}, ["num_bars_choices[0]", "an integer of 16,610 bits"]),
    ({10**5000: 1}, ["an integer of 16,610 bits: unknown key"]),
    ({"train_sets": [{1: 2, "paths": "a", "x": 3, (4,): 5}]}, ["train_sets[0].1", "train_sets[0].x"]),
]


@pytest.mark.parametrize(("change", "expected"), ODD, ids=range(len(ODD)))
def test_odd_numbers_and_keys_are_refused(change: dict[Any, Any], expected: list[str]) -> None:
    message = refusal(change)
    assert all(text in message for text in expected), message
