"""Conditions on the columns of a data source, such as ``year >= 1900``: the option ``where`` of sources."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: The reason under which rows are counted that a condition drops.
DROPPED = "where"

_CONDITION = re.compile(r"\s*([^=!<>]+?)\s*([=!<>]+)\s*(.*?)\s*", re.DOTALL)
_COMPARISONS: Mapping[str, Callable[[pa.Array, pa.Scalar], pa.Array]] = {
    "==": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_SHOWN = 80


@frozen
class Condition:
    """A column compared with a value."""

    column: str
    comparison: str
    value: str | float | bool

    def holds(self, values: pa.Array) -> pa.Array:
        """For which ``values`` of the column it holds: booleans, null for null. Raises :class:`DataError`."""
        plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
        is_text = pa.types.is_string(plain.type) or pa.types.is_large_string(plain.type)
        is_time = pa.types.is_temporal(plain.type)
        try:
            if is_text and not isinstance(self.value, str):
                # Numbers of a CSV are text.
                plain = pc.cast(plain, pa.float64())
            scalar = _moment(self.value, plain.type) if is_time else pa.scalar(self.value)
            if pa.types.is_floating(plain.type) and isinstance(self.value, float):
                # Else 0.1 would equal no 0.1 of a column of 32 bits.
                scalar = scalar.cast(plain.type)
            return _COMPARISONS[self.comparison](plain, scalar)
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            advice = _advice(plain.type)
            raise DataError(
                f"source.where: column {self.column[:_SHOWN]!r} has values of type {str(values.type)[:_SHOWN]}, which "
                f"cannot be compared with {json.dumps(self.value)[:_SHOWN]}. {advice}."
            ) from error


def _advice(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "Write a date, such as 2020-12-31"
    if pa.types.is_time(kind):
        return "Write a time of day, such as 11:30:00"
    if pa.types.is_boolean(kind):
        return "Write true or false"
    return "Write one of that type, text in double quotes"


def _moment(value: str | float | bool, kind: pa.DataType) -> pa.Scalar:
    """A date or time in text as a value of the type ``kind``; without a time zone it is in UTC."""
    text = pa.scalar(value if isinstance(value, str) else json.dumps(value))
    if not isinstance(value, str):
        raise pa.ArrowInvalid("a number is no date")
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            return pc.assume_timezone(text.cast(pa.timestamp(kind.unit)), "UTC").cast(kind)
    return text.cast(kind)


def condition(text: str) -> Condition:
    """``COLUMN COMPARISON VALUE``, the value as JSON, or as text without quotes. Raises ValueError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"where: {text[:_SHOWN]!r} is no condition. Write one like 'year >= 1900'")
    column, comparison, written = match.groups()
    if comparison not in _COMPARISONS:
        known = ", ".join(_COMPARISONS)
        raise ValueError(f"where: {text[:_SHOWN]!r}: there is no comparison {comparison[:_SHOWN]!r}. Choose of {known}")
    if not written:
        raise ValueError(f'where: {text[:_SHOWN]!r} compares with nothing. Write "" for empty text')
    try:
        value = json.loads(written)
    except ValueError:
        value = written
    if not isinstance(value, str | int | float):
        raise ValueError(f"where: {written[:_SHOWN]!r} is neither a number nor text nor true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"where: {written[:_SHOWN]!r} is not finite, so no number could be compared with it")
    return Condition(column, comparison, value)
