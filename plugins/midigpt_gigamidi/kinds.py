"""Casts columns of many Arrow types to the few kinds that are needed; a value that would change becomes null."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.records import BoolArray

#: Bytes of a name, and of all names of a row.
MOST_TEXT_BYTES = 4 << 10

# Doubles beyond this are not exact.
_MOST_EXACT = float(1 << 53)
_INTEGER_TEXT = r"^[+-]?\d{1,15}(\.0*)?$"
_EMPTY_TEXT = frozenset({"", "nan", "none", "null", "na", "<na>"})
# Brackets and quotation marks of a list or text that is printed with nothing in it.
_AROUND = " \t\n[](){}'\""
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_STRUCT_NAME = re.compile(r"['\"](?:genre|name)['\"]\s*:\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")")
_NAME_FIELDS = ("genre", "name", "style", "title")
# What prints of tempo objects say: beats per minute, or microseconds per quarter note.
_TEMPO = re.compile(r"(?:qpm|bpm|tempo)\s*[=:]\s*'?(\d+(?:\.\d+)?)", re.IGNORECASE)
_MSPQ = re.compile(r"(?:mspq|mpqn)\s*[=:]\s*'?(\d+(?:\.\d+)?)", re.IGNORECASE)
_NUMBER = re.compile(r"^\W*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\W*(?:$|[\s,;])")


@frozen
class Kind:
    """What a column's values are cast to."""

    #: As messages call it.
    name: str
    #: Whether columns of a type can be cast.
    accepts: Callable[[pa.DataType], bool]


def is_binary(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_string_view(kind)
        or pa.types.is_null(kind)
        or is_binary(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
        or (_is_text(kind) and not is_binary(kind))
    )


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _is_id(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pa.types.is_integer(kind))


def _is_category(kind: pa.DataType) -> bool:
    return _is_text(kind) or _is_number(kind)


def _is_number_list(kind: pa.DataType) -> bool:
    return _is_number(kind.value_type) if _is_list(kind) else _is_text(kind) and not is_binary(kind)


def _is_text_list(kind: pa.DataType) -> bool:
    if not _is_list(kind):
        return _is_text(kind)
    return _is_text(kind.value_type) or _name_field(kind.value_type) is not None


def _is_number_or_list(kind: pa.DataType) -> bool:
    return _is_number(kind) or (_is_list(kind) and _is_number(kind.value_type))


TEXT = Kind("text", _is_id)
CATEGORY = Kind("text or an integer", _is_category)
INTEGER = Kind("an integer", _is_number)
INTEGERS = Kind("a list of integers", _is_number_list)
TEXTS = Kind("text or a list of it", _is_text_list)
NUMBER = Kind("a number", _is_number_or_list)


def to_binary(column: pa.Array, most: int) -> pa.Array:
    """large_binary, the first ``most`` bytes of each value."""
    values = _plain(column)
    if pa.types.is_fixed_size_binary(values.type):
        values = pc.cast(values, pa.binary())
    values = pc.cast(values, pa.large_binary())
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    return values if longest <= most else pc.binary_slice(values, 0, most)


def to_texts(column: pa.Array) -> list[str | None]:
    """Python strings of at most :data:`MOST_TEXT_BYTES`; parquet does not promise that they are valid UTF-8."""
    column = _plain(column)
    if pa.types.is_null(column.type):
        return [None] * len(column)
    if pa.types.is_integer(column.type):
        column = pc.cast(column, pa.string())
    return [
        None if value is None else value.decode("utf-8", "replace")
        for value in to_binary(column, MOST_TEXT_BYTES).to_pylist()
    ]


def to_categories(column: pa.Array) -> tuple[list[str | None], int]:
    """Python strings, of numbers their digits, and how many values are neither and became None."""
    column = _plain(column)
    if _is_text(column.type):
        return to_texts(column), 0
    values, lost = to_integers(column)
    return pc.cast(values, pa.string()).to_pylist(), lost


def to_integers(column: pa.Array) -> tuple[pa.Array, int]:
    """int64, and how many values are none and became null."""
    column = _plain(column)
    kind = column.type
    missing = column.null_count
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.int64()), 0
    if pa.types.is_uint64(kind):
        column = pc.if_else(pc.greater(column, pa.scalar((1 << 63) - 1, pa.uint64())), None, column)
    elif _is_text(kind):
        column, missing = _parse_integers(column)
    elif not pa.types.is_integer(kind):
        values = pc.cast(column, pa.float64())
        missing += pc.sum(pc.is_nan(values)).as_py() or 0
        whole = pc.and_(pc.equal(pc.trunc(values), values), pc.less_equal(pc.abs(values), _MOST_EXACT))
        column = pc.if_else(whole, values, None)
    result = pc.cast(column, options=pc.CastOptions.unsafe(pa.int64()))
    return result, result.null_count - missing


def _parse_integers(column: pa.Array) -> tuple[pa.Array, int]:
    """Text as int64 where it is an integer, and how many values are empty."""
    texts = pa.array([None if text is None else text.strip() for text in to_texts(column)], pa.string())
    empty = sum(text is None or text.lower() in _EMPTY_TEXT for text in texts.to_pylist())
    whole = pc.if_else(pc.match_substring_regex(texts, _INTEGER_TEXT), texts, None)
    return pc.cast(pc.cast(whole, pa.float64()), pa.int64()), empty


def to_integer_lists(column: pa.Array) -> tuple[pa.Array, int]:
    """list<int64>, and how many items are no integer and became null."""
    column = _plain(column)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.list_(pa.int64())), 0
    if _is_text(column.type):
        rows = [None if text is None else re.findall(r"[^\s,\[\]()]+", text) for text in to_texts(column)]
        column = pa.array(rows, pa.list_(pa.string()))
    lengths, items = _lists(column)
    values, lost = to_integers(items)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values, mask=column.is_null() if column.null_count else None), lost


def to_numbers(column: pa.Array) -> tuple[list[float | None], int]:
    """A number per row (of a list the first, of text the first tempo that it prints), and how many values have none and
    became None."""
    column = _plain(column)
    if _is_list(column.type):
        lengths, items = _lists(column)
        firsts = items.take(pa.array((np.cumsum(lengths) - lengths)[lengths > 0]))
        found, lost = to_numbers(firsts)
        numbers = iter(found)
        return [next(numbers) if length else None for length in lengths.tolist()], lost
    if _is_text(column.type):
        texts = [
            text if text is None or text.strip(_AROUND).lower() not in _EMPTY_TEXT else None
            for text in to_texts(column)
        ]
        values = [None if text is None else _number(text) for text in texts]
        return values, sum(value is None for value in values) - sum(text is None for text in texts)
    return pc.cast(column, pa.float64()).to_pylist(), 0


def _number(text: str) -> float | None:
    if found := _TEMPO.search(text) or _NUMBER.search(text):
        return float(found[1])
    found = _MSPQ.search(text)
    return 60e6 / float(found[1]) if found and float(found[1]) > 0 else None


def to_names(column: pa.Array) -> list[list[str] | str | None]:
    """The names in each row: a list of them, or the text in which they are."""
    column = _plain(column)
    if not _is_list(column.type):
        return [_names_in_print(text) if text is not None else None for text in to_texts(column)]
    lengths, items = _lists(column)
    if pa.types.is_struct(items.type):
        items = pc.struct_field(items, [_name_field(items.type)])
    names = to_texts(items)
    ends = np.cumsum(lengths)
    rows = zip((ends - lengths).tolist(), ends.tolist(), column.is_valid().to_pylist(), strict=True)
    return [[name for name in names[start:end] if name] if valid else None for start, end, valid in rows]


def _names_in_print(text: str) -> list[str] | str:
    """The items of a printed list, as in CSV files; other text as it is."""
    if not text.lstrip().startswith("["):
        return text
    return [first or second for first, second in _STRUCT_NAME.findall(text) or _QUOTED.findall(text)]


def _name_field(kind: pa.DataType) -> str | None:
    """Which field of a struct holds the name."""
    if not pa.types.is_struct(kind):
        return None
    fields = {item.name: item.type for item in kind}
    return next((name for name in _NAME_FIELDS if name in fields and _is_text(fields[name])), None)


def _plain(column: pa.Array) -> pa.Array:
    """Without a dictionary."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _lists(column: pa.Array) -> tuple[np.ndarray[Any, np.dtype[np.int64]], pa.Array]:
    """Length of each list, 0 for null, and all items."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths, pc.list_flatten(column)


def to_mask(values: pa.Array, *, null: bool) -> BoolArray:
    """bool[n] of a boolean array, with ``null`` for nulls."""
    mask: BoolArray = pc.fill_null(values, null).to_numpy(zero_copy_only=False)
    return mask
