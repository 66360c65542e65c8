"""Plain values (numbers, text, lists, mappings) from a file that nobody vouches for."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

#: Values, nested ones included; an encoder configuration with 128 merge groups and every genre has some thousand.
_MAX_VALUES = 100_000
_MAX_DEPTH = 32
_NEXT = "The file is not a bundle that midigpt can read; choose another."


def parse_json(path: Path, field: str, text: str | bytes) -> Any:
    """A JSON value in which no object has a key twice."""
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: {field} is not valid JSON ({str(error)[:120]}). {_NEXT}") from error


def plain_mapping(path: Path, field: str, value: object) -> dict[str, Any]:
    """``value`` as a dict of plain values with text keys, a copy; a value that contains itself is refused.

    Equal texts become one object: pickle writes an object that it has seen as a reference, so that equal values would
    otherwise give unequal bytes.
    """
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: {field} is a {type(value).__name__}, expected a mapping. {_NEXT}")
    budget = [_MAX_VALUES]
    copied: dict[str, Any] = _plain(path, field, value, budget, 0)
    return copied


def _plain(path: Path, field: str, value: object, budget: list[int], depth: int) -> Any:
    budget[0] -= 1
    if budget[0] < 0 or depth > _MAX_DEPTH:
        raise CheckpointError(f"{path}: {field} has too many values, or too many within one another. {_NEXT}")
    if type(value) is str:
        return sys.intern(value)
    if value is None or type(value) in (bool, int, float):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(path, field, item, budget, depth + 1) for item in value]
    if isinstance(value, dict) and all(type(key) is str for key in value):
        return {sys.intern(key): _plain(path, field, item, budget, depth + 1) for key, item in value.items()}
    raise CheckpointError(f"{path}: {field} holds a {type(value).__name__}, expected plain values. {_NEXT}")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found
