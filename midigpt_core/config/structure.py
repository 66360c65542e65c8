"""Converts plain values to typed ones, strictly: ``"false"`` is not a bool, 3.9 is not an int, an unknown key is an
error.

cattrs walks classes and containers and collects every error with its place; the hooks here replace its coercions
(``int("3")``), which suit network data but not a configuration. Supported types: bool, int, float, str, Path, None,
Any, Literal, Enum, unions, list, tuple, dict and attrs classes of these.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.cols import homogenous_tuple_structure_factory, list_structure_factory, mapping_structure_factory
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from midigpt_core.config.wording import MOST_LISTED, describe, key_name, listed, spell, unknown_key
from midigpt_core.errors import ConfigError, nearest

T = TypeVar("T")
Hook = Callable[[Any, Any], Any]


#: Largest integer in settings and in components' options: what fits into 64 bits.
_LARGEST_INT = 2**64 - 1


class Mismatch(Exception):
    """Why values do not fit, as ``(key path, what is wrong)`` pairs."""

    def __init__(self, problems: Iterable[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{path}: {problem}" for path, problem in self.problems))


class _Misfit(ValueError):
    """A problem with one value; cattrs records its position."""


def structure(value: object, kind: Any, path: str = "") -> Any:
    """``value`` as a ``kind``; raises :class:`Mismatch` with everything that does not fit."""
    try:
        return _converter.structure(value, kind)
    except (_Misfit, BaseValidationError) as error:
        raise Mismatch(_problems(error, path)) from error


def structure_class(values: object, kind: type[T], where: str) -> T:
    """``values`` as an instance of an attrs class; raises :class:`ConfigError` whose key paths begin at ``where``."""
    try:
        record: T = structure(values, kind, where)
    except Mismatch as mismatch:
        raise ConfigError(listed(mismatch.problems)) from mismatch
    return record


# --- hooks: what a value of each type must be -----------------------------------------------------------------------


def _wrong_type(value: object, kind: Any) -> _Misfit:
    return _Misfit(f"expected {describe(kind)}, got {spell(value)}")


def _scalar(value: object, kind: Any) -> object:
    if kind is bool:
        fits = isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST_INT
    elif kind is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and _is_finite(value)
    elif kind is str:
        fits = isinstance(value, str)
    elif kind is Path:
        fits = isinstance(value, str | Path)
    else:
        fits = value is None
    if not fits:
        raise _wrong_type(value, kind)
    return kind(value) if kind in (float, Path) else value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int too large for a float
        return False


def _one_of(value: object, allowed: Mapping[Any, object]) -> object:
    for spelling, meant in allowed.items():
        if type(spelling) is type(value) and spelling == value:
            return meant
    names = [str(spelling) for spelling in allowed]
    hint = nearest(key_name(value), names) if isinstance(value, str) else ""
    raise _Misfit(f"expected one of {', '.join(names)}, got {spell(value)}.{hint}")


def _union(value: object, kind: Any) -> object:
    inner: BaseValidationError | None = None
    for member in get_args(kind):
        try:
            return _converter.structure(value, member)
        except BaseValidationError as error:
            # A mapping for a union with one mapping type: a problem inside the mapping is more helpful than one with
            # the union.
            inner = error
        except _Misfit:
            continue
    raise inner or _wrong_type(value, kind)


def _container(accepted: Any, factory: Callable[[Any, Converter], Hook]) -> Callable[[Any, Converter], Hook]:
    """Put a check that the value is a container before cattrs' own hook, which accepts ``"12"`` as a list."""

    def make(kind: Any, converter: Converter) -> Hook:
        fill = factory(kind, converter)

        def hook(value: Any, _: Any) -> Any:
            if not isinstance(value, accepted):
                raise _wrong_type(value, kind)
            return fill(value, kind)

        return hook

    return make


def _fixed_tuple(kind: Any, converter: Converter) -> Hook:
    members = get_args(kind)

    def fill(value: Sequence[Any], _: Any) -> tuple[Any, ...]:
        if len(value) != len(members):
            raise _Misfit(f"expected {len(members)} values, got {spell(value)}")
        items, errors = [], []
        for index, (item, member) in enumerate(zip(value, members, strict=True)):
            try:
                items.append(converter.structure(item, member))
            except (_Misfit, BaseValidationError) as error:
                error.add_note(IterableValidationNote(f"place {index}", index, member))
                errors.append(error)
        if errors:
            raise IterableValidationError("some places do not fit", errors, kind)
        return tuple(items)

    return fill


def _record(kind: Any, converter: Converter) -> Hook:
    fill = _container(Mapping, make_dict_structure_fn)(kind, converter)
    return lambda value, _: value if isinstance(value, kind) else fill(value, kind)


def _refuse(kind: Any) -> Hook:
    raise TypeError(f"a value of type {kind!r} cannot be in a configuration")


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType)


def _is_a(*origins: Any) -> Callable[[Any], bool]:
    return lambda kind: (get_origin(kind) or kind) in origins


def _is_record(kind: Any) -> bool:
    return attrs.has(get_origin(kind) or kind)


def _is_fixed_tuple(kind: Any) -> bool:
    return get_origin(kind) is tuple and get_args(kind)[-1] is not Ellipsis


def _make_converter() -> Converter:
    """Make the converter. If two hooks match a type, cattrs uses the one registered last."""
    made = Converter(forbid_extra_keys=True, use_alias=True, structure_fallback_factory=_refuse)
    for scalar in (bool, int, float, str, Path, type(None)):
        made.register_structure_hook(scalar, _scalar)
    made.register_structure_hook_func(lambda kind: kind is object, lambda value, _: value)
    made.register_structure_hook_func(
        _is_a(Literal), lambda value, kind: _one_of(value, {name: name for name in get_args(kind)})
    )
    made.register_structure_hook(Enum, lambda value, kind: _one_of(value, {member.value: member for member in kind}))
    made.register_structure_hook_factory(_is_a(list), _container((list, tuple), list_structure_factory))
    made.register_structure_hook_factory(
        _is_a(tuple, Sequence), _container((list, tuple), homogenous_tuple_structure_factory)
    )
    made.register_structure_hook_factory(_is_fixed_tuple, _container((list, tuple), _fixed_tuple))
    made.register_structure_hook_factory(_is_a(dict, Mapping), _container(Mapping, mapping_structure_factory))
    made.register_structure_hook_factory(_is_record, _record)
    made.register_structure_hook_func(_is_union, _union)
    return made


_converter = _make_converter()


# --- errors: from cattrs' tree of exceptions to key paths -----------------------------------------------------------


def _problems(error: BaseException, path: str) -> Iterator[tuple[str, str]]:
    """The problems in ``error`` as ``(key path, problem)``; ``path`` is the key path of its value."""
    if isinstance(error, BaseValidationError):
        # Unknown keys come first: a misspelled key explains a missing one.
        for inner in sorted(error.exceptions, key=lambda inner: not isinstance(inner, ForbiddenExtraKeysError)):
            place = _place(inner, path)
            if isinstance(inner, KeyError) and place != path:
                yield place, "missing: it has no default"
            elif isinstance(inner, ValueError) and not isinstance(inner, _Misfit):
                yield _validator_problem(inner, path, _names(error.cl))
            else:
                yield from _problems(inner, place)
    elif isinstance(error, ForbiddenExtraKeysError):
        names = sorted(map(key_name, error.extra_fields))
        named = names if len(names) <= MOST_LISTED else names[: MOST_LISTED - 1]
        for name in named:
            yield _key(path, name), unknown_key(name, _names(error.cl), "option")
        if len(names) > len(named):
            yield path, f"{len(names) - len(named):,} more unknown options"
    elif isinstance(error, _Misfit):
        yield path, str(error)
    else:  # a bug in a class, not a wrong value
        raise error


def _validator_problem(error: ValueError, path: str, names: Sequence[str]) -> tuple[str, str]:
    """attrs' validators say ``'max_lookahead' must be >= 1: 0``: the name belongs to the key path."""
    message = str(error.args[0]) if error.args else type(error).__name__
    named = re.match(r"'(\w+)' (.+)", message, re.DOTALL)
    return (_key(path, named[1]), named[2]) if named and named[1] in names else (path, message)


def _place(error: BaseException, path: str) -> str:
    """The key path of the value that ``error`` is about, within the record or container at ``path``."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return _key(path, note.name)
        if isinstance(note, IterableValidationNote):
            return f"{path}[{note.index}]" if isinstance(note.index, int) else _key(path, key_name(note.index))
    return path


def _key(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _names(kind: type) -> list[str]:
    """What the fields of an attrs class are called in a configuration."""
    return [field.alias for field in attrs.fields(kind) if field.init and field.alias]
