"""Conditions on columns of a data set, such as ``year >= 1900``: the option ``where``."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CONDITION = re.compile(r"\s*([^=!<>]+?)\s*(==|!=|<=|>=|<|>)\s*(\S.*?)\s*", re.DOTALL)
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
        try:
            if is_text and not isinstance(self.value, str):
                # Numbers of a CSV are text.
                plain = pc.cast(plain, pa.float64())
            return _COMPARISONS[self.comparison](plain, pa.scalar(self.value))
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise DataError(
                f"source.where: column {self.column[:_SHOWN]!r} has values of type {values.type}, which cannot be "
                f"compared with {json.dumps(self.value)[:_SHOWN]}. Write one of that type, text in double quotes."
            ) from error


def condition(text: str) -> Condition:
    """``COLUMN COMPARISON VALUE``, the value as JSON, or as text without quotes. Raises ValueError."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"where: {text[:_SHOWN]!r} is no condition. Write one like 'year >= 1900'")
    column, comparison, written = match.groups()
    try:
        value = json.loads(written)
    except ValueError:
        value = written
    if not isinstance(value, str | int | float):
        raise ValueError(f"where: {written[:_SHOWN]!r} is neither a number nor text nor true or false")
    return Condition(column, comparison, value)
