"""Configuration values, types and problems in words: one spelling for every message and table."""

from __future__ import annotations

import reprlib
import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from midigpt_core.errors import nearest, sentence

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

#: Problems that one message lists; for further ones it gives only their number.
MOST_LISTED = 20


def listed(problems: Sequence[tuple[str, str]], origin: str = "", *, more: int = 0) -> str:
    """One line that lists the problems with their key paths, and the file or flag they came from. A long list is cut,
    and the line gives the number of problems left out. ``more`` counts problems that are not in ``problems``."""
    problems, more = problems[:MOST_LISTED], len(problems[MOST_LISTED:]) + more
    parts = [f"{path}: {problem}" if path else problem for path, problem in problems]
    if len(parts) > 1:
        parts = [f"({number}) {part}" for number, part in enumerate(parts, 1)]
        parts[0] = f"{len(problems) + more:,} problems: {parts[0]}"
    if more:
        parts.append(f"And {more:,} more.")
    return (f"{origin}: " if origin else "") + " ".join(map(sentence, parts))


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


class _Spelling(reprlib.Repr):
    """Reads no more of a value than is shown: aliases can make nested lists that are larger than memory."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = 12
        self.maxstring = self.maxother = 200
        self.maxlong = 100

    def repr_int(self, x: int, level: int) -> str:
        # Python may refuse to print larger integers, or take long.
        if x.bit_length() > 4000:
            return f"an integer of {x.bit_length():,} bits"
        return super().repr_int(x, level)


_spelling = _Spelling()


def spell(value: object) -> str:
    """A value as a configuration file would spell it, shortened."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    text = _spelling.repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def key_name(key: object) -> str:
    """A key for messages: unchanged if it is short text."""
    return key if isinstance(key, str) and len(key) <= 60 else spell(key)


def unknown_key(name: object, names: Iterable[str], noun: str) -> str:
    """``"unknown option. Did you mean 'bar_fraction'?"``, or all names if none is similar."""
    known = sorted(names)
    hint = nearest(key_name(name), known)
    return f"unknown {noun}." + (hint or f" Available: {', '.join(known) or 'none'}.")
