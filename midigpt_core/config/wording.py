"""Configuration values, types and problems in words: one spelling for every message and table."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from midigpt_core.errors import nearest

_NOUNS: Mapping[object, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    Path: "a path",
    list: "a list",
    tuple: "a list",
    Sequence: "a list",
    dict: "a mapping",
    Mapping: "a mapping",
    type(None): "null",
}


def listed(problems: Sequence[tuple[str, str]], origin: str = "") -> str:
    """One line that names every problem with its key path, and the file or flag it came from."""
    parts = [f"{path}: {problem}" if path else problem for path, problem in problems]
    if len(parts) > 1:
        parts = [f"({number}) {part}" for number, part in enumerate(parts, 1)]
        parts[0] = f"{len(problems)} problems: {parts[0]}"
    return (f"{origin}: " if origin else "") + " ".join(part if part[-1] in ".?" else f"{part}." for part in parts)


def describe(kind: Any) -> str:
    """A type in words, for messages and option tables: ``"an integer or null"``."""
    origin = get_origin(kind) or kind
    if origin in (Union, types.UnionType):
        return " or ".join(describe(member) for member in get_args(kind))
    if origin is Literal:
        return f"one of {', '.join(str(name) for name in get_args(kind))}"
    if isinstance(origin, type) and issubclass(origin, Enum):
        return f"one of {', '.join(str(member.value) for member in origin)}"
    if isinstance(origin, type) and attrs.has(origin):
        return "a mapping"
    return _NOUNS.get(origin, str(getattr(origin, "__name__", origin)))


def spell(value: object) -> str:
    """A value as a configuration file would spell it, shortened."""
    text = repr(value)
    if value is None or isinstance(value, bool):
        text = "null" if value is None else str(value).lower()
    return text if len(text) <= 60 else f"{text[:57]}..."


def unknown_key(name: object, names: Iterable[str], noun: str) -> str:
    """``"unknown option. Did you mean 'bar_fraction'?"``, or all names where none is near."""
    known = sorted(names)
    hint = nearest(str(name), known)
    return f"unknown {noun}." + (hint or f" Available: {', '.join(known) or 'none'}.")
