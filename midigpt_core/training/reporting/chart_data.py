"""Line charts as data, which pictures and pages draw."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from midigpt_core.records import Float64Array

#: Distinguishable with red-green colour blindness too (Okabe and Ito, "Color universal design", 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5a606a", "#967846", "#141820")

#: How the values of an axis are written.
Form = Literal["number", "rate", "count", "percent"]
WRITE: Mapping[Form, Callable[[float], str]] = MappingProxyType(
    {
        "number": lambda value: f"{value:g}",
        "rate": lambda value: f"{value:.2g}",
        "count": lambda value: f"{value:,.0f}",
        "percent": lambda value: f"{value:g} %",
    }
)


@frozen(eq=False, kw_only=True)
class Line:
    """``y`` over ``x``, float64[n] each; values that are not finite leave a gap."""

    label: str
    x: Float64Array
    y: Float64Array
    colour: str
    #: A thin, pale line behind the others: raw values behind their average.
    pale: bool = False
    #: A dot at each point, for lines with few points.
    dots: bool = False


@frozen(eq=False, kw_only=True)
class Chart:
    """Lines over one axis."""

    title: str
    lines: Sequence[Line]
    logarithmic: bool = False
    #: The axis starts at 0 rather than at the lowest value.
    from_zero: bool = False
    form: Form = "number"
