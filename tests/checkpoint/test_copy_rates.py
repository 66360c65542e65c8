"""The copy rates of a bundle as people read them; the bundle is untrusted."""

from __future__ import annotations

from typing import Any

import pytest

from midigpt_core.checkpoint.copy_rates import copy_rates


def test_rates_stand_next_to_those_of_the_base_and_the_composers() -> None:
    held_out = {"model": 0.11, "base": 0.04, "own": 0.19, "bars": 1079}
    recorded = {"limit": 2.0, "held_out": held_out, "training": {"model": 0.2, "bars": 80}}
    assert list(copy_rates({"copies": recorded})) == [
        ("held-out pieces", "11% (its base 4%, the composers' own bars 19%, 1,079 bars)"),
        ("pieces it was trained on", "20% (80 bars)"),
    ]


@pytest.mark.parametrize(
    "recorded",
    [
        None,
        [],
        "text",
        {},
        {"held_out": []},
        {"held_out": {"model": "|"}},
        {"held_out": {"model": float("nan")}},
        {"held_out": {"model": 10**400}},
        {"held_out": {"model": True}},
    ],
)
def test_what_is_no_rate_is_left_out(recorded: Any) -> None:
    assert list(copy_rates({"copies": recorded})) == []
    assert list(copy_rates({})) == []
