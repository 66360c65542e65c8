"""Plain values (numbers, text, lists, mappings) from an untrusted file."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from midigpt_core.errors import CheckpointError
from midigpt_core.files import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

#: Values, nested ones included; an encoder configuration with 128 merge groups and every genre has some thousand.
_MAX_VALUES = 100_000
_MAX_DEPTH = 32
#: Limit of a JSON file; an encoder's needs 0.01 MiB.
_MAX_JSON_BYTES = 1 << 20
#: Numbers that every program can read: those of 64 bits, with a sign or without.
_WHOLE_NUMBERS = range(-(1 << 63), 1 << 64)
_NEXT = "The file is not a bundle that midigpt can read; choose another."


def read_json(path: Path) -> dict[str, Any]:
    """The mapping of plain values in a JSON file. Raises OSError for a file that cannot be opened, is not a regular
    file or is longer than 1 MiB, and :class:`midigpt_core.errors.CheckpointError` for any other content."""
    return plain_mapping(path, "the file", parse_json(path, "the file", read_bytes(path, _MAX_JSON_BYTES)))


def parse_json(path: Path, field: str, text: str | bytes) -> Any:
    """A JSON value in which no object has a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {field} is not valid JSON ({str(error)[:120]}). {_NEXT}") from error


def plain_mapping(path: Path, field: str, value: object) -> dict[str, Any]:
    """``value`` as a dict of plain values with text keys, a copy: whole numbers of 64 bits, text that UTF-8 can write,
    no more values than a bundle needs, none of which contains itself.

    Equal texts become one object: pickle writes an object that it has seen as a reference, so that equal values would
    otherwise give unequal bytes.
    """
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: {field} is a {type(value).__name__}, expected a mapping. {_NEXT}")
    budget = [_MAX_VALUES]
    copied: dict[str, Any] = _plain(path, field, value, budget, 0)
    return copied


def mapping_or_empty(value: object) -> dict[str, Any]:
    """``value`` if it is a mapping, else an empty one: the content of a bundle is untrusted."""
    return value if isinstance(value, dict) else {}


def _plain(path: Path, field: str, value: object, budget: list[int], depth: int) -> Any:
    budget[0] -= 1
    if budget[0] < 0 or depth > _MAX_DEPTH:
        raise CheckpointError(f"{path}: {field} has too many values, or too many within one another. {_NEXT}")
    if type(value) is str:
        return _text(path, field, value)
    if type(value) is int and value not in _WHOLE_NUMBERS:
        raise CheckpointError(f"{path}: {field} holds a number of {value.bit_length()} bits, the limit is 64. {_NEXT}")
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(path, field, item, budget, depth + 1) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {_text(path, field, key): _plain(path, field, item, budget, depth + 1) for key, item in value.items()}
    raise CheckpointError(f"{path}: {field} holds a {type(value).__name__}, expected plain values. {_NEXT}")


def _text(path: Path, field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise CheckpointError(f"{path}: {field} holds text with half a character. {_NEXT}") from error
    return sys.intern(text)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found
