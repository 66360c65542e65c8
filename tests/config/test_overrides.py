"""``--set``."""

from __future__ import annotations

from typing import Any

import pytest

from midigpt_core.config import TrainConfig, apply_overrides
from midigpt_core.config.overrides import read_value
from midigpt_core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("seed=7", "seed", 7),
        ("learning_rate=3e-4", "learning_rate", 3e-4),
        ("packing=false", "packing", False),
        ("num_bars_choices=[4, 8, 16]", "num_bars_choices", [4, 8, 16]),
        ("precision=bf16", "precision", "bf16"),
        ("output_dir=007", "output_dir", "007"),
        ("output_dir=a=b", "output_dir", "a=b"),
        ("workers=null", "workers", None),
        ("mask=structured", "mask", "structured"),
        ('mask={"name": "swing", "depth": 2}', "mask", {"name": "swing", "depth": 2}),
        ("mask.max_lookahead=8", "mask", {"max_lookahead": 8}),
        ("logger.tags.first=x", "logger", {"name": "none", "tags": {"first": "x"}}),
    ],
)
def test_values(text: str, field: str, value: Any) -> None:
    config = TrainConfig()
    apply_overrides(config, [text])
    assert getattr(config, field) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed", r"--set 'seed': is not of the form key=value"),
        ("=3", r"is not of the form key=value"),
        ("sead=3", r"--set: sead: unknown key. Did you mean 'seed'\?"),
        ("packing=False", r"--set: packing: expected true or false, got 'False'"),
        ("seed.low=3", r"--set: seed.low: seed has no options"),
        ("mask.=3", r"names no option"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_overrides(TrainConfig(), [text])


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        apply_overrides(TrainConfig(), ["seed", "mask.=3", "sead=3", "n_layer=2", "packing=no"])
    message = str(raised.value)
    assert message.startswith("4 problems: (1) --set 'seed': is not of the form key=value.")
    assert all(name in message for name in ("sead: unknown key", "packing: expected true", "mask.: names no option"))


def test_an_option_joins_the_block_of_the_file_without_changing_it() -> None:
    values = {"mask": {"name": "mixed", "bar_fraction": 0.5}}
    config = TrainConfig.from_mapping(values, "c.json")
    apply_overrides(config, ["mask.max_lookahead=8", "mask.max_lookahead=9"])
    assert config.mask == {"name": "mixed", "bar_fraction": 0.5, "max_lookahead": 9}
    assert values == {"mask": {"name": "mixed", "bar_fraction": 0.5}}


def test_an_option_belongs_to_the_component_that_is_named_in_whatever_order() -> None:
    config = TrainConfig()
    apply_overrides(config, ["mask.period=3", "mask=swing"])
    assert config.mask == {"name": "swing", "period": 3}


def test_a_value_that_no_setting_takes_is_a_string() -> None:
    for value in ("[" * 50_000, "[" * 500 + "]" * 500, "1" * 5000):
        assert read_value(value) == value
        with pytest.raises(ConfigError, match=r"--set: batch_size: expected an integer, got '"):
            apply_overrides(TrainConfig(), [f"batch_size={value}"])
