"""Strict structuring of component options."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import Factory, field, frozen, validators

from midigpt_core.config.structure import structure, structure_class
from midigpt_core.config.wording import describe
from midigpt_core.errors import ConfigError


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@frozen
class Inner:
    depth: int = 1


@frozen(kw_only=True)
class Options:
    name: str = "x"
    share: float = field(default=0.5, validator=validators.le(1))
    count: int | None = None
    mode: Literal["auto", "fixed"] = "auto"
    colour: Colour = Colour.RED
    folder: Path = Path()
    sizes: list[int] = Factory(list)
    span: tuple[int, float] = (0, 1.0)
    tags: tuple[str, ...] = ()
    extra: dict[str, float] = Factory(dict)
    inner: Inner = Inner()
    either: str | dict[str, Any] = ""


def test_everything_that_fits() -> None:
    values = {
        "name": "y",
        "share": 1,
        "count": 3,
        "mode": "fixed",
        "colour": "blue",
        "folder": "a/b",
        "sizes": [1, 2],
        "span": [1, 2],
        "tags": ["a"],
        "extra": {"z": 1},
        "inner": {"depth": 2},
        "either": {"name": "q"},
    }
    assert structure_class(values, Options, "mask") == Options(
        name="y",
        share=1.0,
        count=3,
        mode="fixed",
        colour=Colour.BLUE,
        folder=Path("a/b"),
        sizes=[1, 2],
        span=(1, 2.0),
        tags=("a",),
        extra={"z": 1.0},
        inner=Inner(2),
        either={"name": "q"},
    )
    assert isinstance(structure_class({"share": 1}, Options, "").share, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"shar": 1.0}, "mask.shar: unknown option. Did you mean 'share'?"),
        ({"qqq": 1.0}, "mask.qqq: unknown option. Available: colour, count, "),
        ({"share": "0.5"}, "mask.share: expected a number, got '0.5'."),
        ({"share": 2.0}, "mask.share: must be <= 1: 2.0."),
        ({"count": 1.0}, "mask.count: expected an integer or null, got 1.0."),
        ({"mode": "fixd"}, "mask.mode: expected one of auto, fixed, got 'fixd'. Did you mean 'fixed'?"),
        ({"colour": "green"}, "mask.colour: expected one of red, blue, got 'green'."),
        ({"sizes": "12"}, "mask.sizes: expected a list, got '12'."),
        ({"sizes": [1, True]}, "mask.sizes[1]: expected an integer, got true."),
        ({"span": [1]}, "mask.span: expected 2 values, got [1]."),
        ({"extra": {"z": "1"}}, "mask.extra.z: expected a number, got '1'."),
        ({"inner": {"dept": 1}}, "mask.inner.dept: unknown option. Did you mean 'depth'?"),
        ({"inner": 3}, "mask.inner: expected a mapping, got 3."),
        ({"either": 3}, "mask.either: expected a string or a mapping, got 3."),
    ],
)
def test_what_does_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        structure_class(values, Options, "mask")
    assert str(caught.value).startswith(message)


def test_several_problems_in_one_message() -> None:
    with pytest.raises(ConfigError, match=r"^3 problems: \(1\) mask\.x: .* \(2\) mask\.name: .* \(3\) mask\.count: "):
        structure_class({"x": 1, "count": "a", "name": 3}, Options, "mask")


def test_an_option_without_a_default_is_named() -> None:
    @frozen
    class Required:
        path: str

    with pytest.raises(ConfigError, match=r"source\.path: missing"):
        structure_class({}, Required, "source")


def test_a_type_that_cannot_stand_in_a_configuration_is_the_authors_bug() -> None:
    with pytest.raises(TypeError, match="cannot be in a configuration"):
        structure(3, complex, "x")


def test_a_bug_in_a_class_is_no_wrong_value() -> None:
    @frozen
    class Broken:
        depth: int = field(default=1, validator=lambda *_: {}["missing"])

    with pytest.raises(KeyError, match="missing"):
        structure_class({"depth": 2}, Broken, "mask")


def test_each_place_of_a_tuple_is_named() -> None:
    with pytest.raises(ConfigError, match=r"mask\.span\[1\]: expected a number, got 'a'\."):
        structure_class({"span": [1, "a"]}, Options, "mask")


def test_types_in_words() -> None:
    assert describe(int | None) == "an integer or null"
    assert describe(Literal["a", "b"]) == "one of a, b"
    assert describe(tuple[str, ...]) == "a list"
