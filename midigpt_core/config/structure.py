"""Plain values into typed ones, strictly: ``"false"`` is no bool, 3.9 is no int, an unknown key is an error.

Converters that are made for data on the wire coerce (``int("3")``); a configuration must not, so this one only checks.
Supported types: bool, int, float, str, Path, None, Any, Literal, Enum, unions, list, tuple, dict and attrs classes of
these. Everything that is wrong is reported at once, by key path.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs

from midigpt_core.errors import ConfigError, nearest

T = TypeVar("T")

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


class Mismatch(Exception):
    """Why values do not fit, as ``(key path, what is wrong)`` pairs."""

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{path}: {problem}" for path, problem in self.problems))


def structure(value: object, kind: Any, path: str = "") -> Any:
    """``value`` as a ``kind``; raises :class:`Mismatch` with everything that does not fit."""
    if kind is Any or kind is object:
        return value
    origin = get_origin(kind) or kind
    if origin in (Union, types.UnionType):
        return _union(value, kind, path)
    if origin is Literal:
        return _one_of(value, {name: name for name in get_args(kind)}, path)
    if origin in (list, tuple, Sequence):
        return _sequence(value, kind, path)
    if origin in (dict, Mapping):
        return _mapping(value, kind, path)
    if attrs.has(origin):
        return _record(value, origin, path)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _one_of(value, {member.value: member for member in origin}, path)
    return _scalar(value, origin, path)


def structure_class(values: object, kind: type[T], where: str) -> T:
    """``values`` as an instance of an attrs class; raises :class:`ConfigError` whose key paths begin at ``where``."""
    try:
        record: T = structure(values, kind, where)
    except Mismatch as mismatch:
        raise ConfigError(listed(mismatch.problems)) from mismatch
    return record


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


def _wrong_type(value: object, kind: Any, path: str) -> Mismatch:
    return Mismatch([(path, f"expected {describe(kind)}, got {spell(value)}")])


def _scalar(value: object, kind: Any, path: str) -> object:
    if kind is type(None) or kind is None:
        fits = value is None
    elif kind is bool:
        fits = isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool)
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    elif kind is str:
        fits = isinstance(value, str)
    elif kind is Path:
        fits = isinstance(value, str | Path)
    else:
        raise TypeError(f"{path}: a value of type {kind!r} cannot stand in a configuration")
    if not fits:
        raise _wrong_type(value, kind, path)
    return kind(value) if kind in (float, Path) else value


def _one_of(value: object, allowed: Mapping[Any, object], path: str) -> object:
    for spelling, meant in allowed.items():
        if type(spelling) is type(value) and spelling == value:
            return meant
    names = [str(spelling) for spelling in allowed]
    raise Mismatch([(path, f"expected one of {', '.join(names)}, got {spell(value)}.{nearest(str(value), names)}")])


def _union(value: object, kind: Any, path: str) -> object:
    container: Mismatch | None = None
    for member in get_args(kind):
        try:
            return structure(value, member, path)
        except Mismatch as mismatch:
            # A mapping offered to a union with one mapping type: what is wrong inside it says more than the union.
            if any(problem_path != path for problem_path, _ in mismatch.problems):
                container = mismatch
    raise container or _wrong_type(value, kind, path)


def _each(items: Iterable[tuple[str, object, Any]]) -> list[Any]:
    """Structure ``(path, value, kind)`` items, collecting what is wrong with all of them."""
    structured: list[Any] = []
    problems: list[tuple[str, str]] = []
    for path, value, kind in items:
        try:
            structured.append(structure(value, kind, path))
        except Mismatch as mismatch:
            problems.extend(mismatch.problems)
    if problems:
        raise Mismatch(problems)
    return structured


def _sequence(value: object, kind: Any, path: str) -> object:
    if not isinstance(value, list | tuple):
        raise _wrong_type(value, kind, path)
    arguments = get_args(kind)
    origin = get_origin(kind) or kind
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise Mismatch([(path, f"expected {len(arguments)} values, got {spell(value)}")])
        kinds = arguments
    else:
        kinds = (arguments[0] if arguments else Any,) * len(value)
    items = _each(
        (f"{path}[{index}]", item, item_kind) for index, (item, item_kind) in enumerate(zip(value, kinds, strict=True))
    )
    return items if origin is list else tuple(items)


def _mapping(value: object, kind: Any, path: str) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise _wrong_type(value, kind, path)
    value_kind = get_args(kind)[1] if get_args(kind) else Any
    for key in value:
        if not isinstance(key, str):
            raise Mismatch([(path, f"key {spell(key)} must be a string")])
    return dict(zip(value, _each((f"{path}.{key}", item, value_kind) for key, item in value.items()), strict=True))


def _record(value: object, kind: type, path: str) -> object:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise _wrong_type(value, kind, path)
    attrs.resolve_types(kind)
    fields = {field.alias: field for field in attrs.fields(kind) if field.init}
    prefix = f"{path}." if path else ""
    problems = [(f"{prefix}{key}", unknown_key(key, fields, "option")) for key in value if key not in fields]
    given = [key for key in value if key in fields]
    try:
        items = _each((f"{prefix}{key}", value[key], fields[key].type) for key in given)
    except Mismatch as mismatch:
        problems.extend(mismatch.problems)
    missing = [name for name, field in fields.items() if field.default is attrs.NOTHING and name not in value]
    problems.extend((f"{prefix}{name}", "missing: it has no default") for name in missing)
    if problems:
        raise Mismatch(problems)
    try:
        return kind(**dict(zip(given, items, strict=True)))
    except ValueError as error:  # a validator of the class, such as attrs.validators.ge
        raise Mismatch([_validator_problem(error, path, fields)]) from error


def _validator_problem(error: ValueError, path: str, fields: Iterable[str]) -> tuple[str, str]:
    """attrs' validators say ``'max_lookahead' must be >= 1: 0``: the name belongs to the key path."""
    message = str(error.args[0]) if error.args else type(error).__name__
    named = re.match(r"'(\w+)' (.+)", message, re.DOTALL)
    if named and named[1] in fields:
        return (f"{path}.{named[1]}" if path else named[1]), named[2]
    return path, message
