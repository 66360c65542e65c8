"""How a configuration field is declared: default, meaning and limits in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from midigpt_core.config.counts import LARGEST_COUNT
from midigpt_core.config.structure import Mismatch, structure
from midigpt_core.config.wording import spell
from midigpt_core.paths import path_problem

if TYPE_CHECKING:
    from collections.abc import Sequence


@frozen
class Limits:
    """The allowed numbers; for a list, they apply to every item."""

    low: float | None = None
    high: float | None = None
    #: The lower limit itself is not allowed.
    above: bool = False
    #: The upper limit itself is not allowed.
    below: bool = False

    def allow(self, number: float) -> bool:
        if self.low is not None and (number < self.low or (self.above and number == self.low)):
            return False
        return not (self.high is not None and (number > self.high or (self.below and number == self.high)))

    def __str__(self) -> str:
        low = None if self.low is None else f"{'greater than' if self.above else 'at least'} {_exactly(self.low)}"
        high = None if self.high is None else f"{'less than' if self.below else 'at most'} {_exactly(self.high)}"
        return " and ".join(limit for limit in (low, high) if limit)


def _exactly(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def setting(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    below: bool = False,
    length: tuple[int, int | None] | None = None,
    ascending: bool = False,
    path: bool = False,
) -> Any:
    """An attrs field with its meaning, the numbers allowed, and for lists the (least, most) items and their order.

    ``path``: the text names a file or folder. If the default is empty, an empty value means none.
    """
    example = default[0] if isinstance(default, list) and default else default
    if high is None and isinstance(example, int) and not isinstance(example, bool):
        high = LARGEST_COUNT
    metadata = {
        "help": help,
        "limits": Limits(low, high, above, below),
        "length": length,
        "ascending": ascending,
        "path": path,
    }
    if isinstance(default, list):
        return attrs.field(factory=lambda: list(default), metadata=metadata)
    return attrs.field(default=default, metadata=metadata)


def check(attribute: attrs.Attribute[Any], value: object) -> Any:
    """``value`` as the field's type and within its limits; raises :class:`Mismatch`."""
    name, metadata = attribute.name, attribute.metadata
    structured = structure(value, attribute.type, name)
    problem = _outside(structured, metadata["limits"])
    if isinstance(structured, list):
        problem = problem or _misshapen(structured, metadata["length"], metadata["ascending"])
    if metadata["path"] and (structured or attribute.default):
        unusable = path_problem(structured)
        if unusable:
            raise Mismatch([(name, f"{structured[:200]}: {unusable}" if structured else unusable)])
    if problem:
        raise Mismatch([(name, f"{problem}, got {spell(structured)}")])
    return structured


def _outside(value: object, limits: Limits) -> str:
    numbers = value if isinstance(value, list) else [value]
    numeric = (number for number in numbers if isinstance(number, int | float) and not isinstance(number, bool))
    return "" if all(map(limits.allow, numeric)) else f"must be {limits}"


def _misshapen(items: Sequence[Any], length: tuple[int, int | None] | None, ascending: bool) -> str:
    if length is not None:
        least, most = length
        if len(items) < least or (most is not None and len(items) > most):
            return f"must hold {least} values" if least == most else f"must hold at least {least} value"
    if ascending and list(items) != sorted(items):
        return "must ascend"
    return ""
