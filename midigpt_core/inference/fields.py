"""Declares the fields of requests with their valid values, and the messages for other values.

Each field declares its limits once; :mod:`midigpt_core.inference.validation` checks every request against them, whether
it comes from Python, from the command line or as plain values.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import attrs

from midigpt_core.config.fields import Limits
from midigpt_core.config.structure import Mismatch, structure
from midigpt_core.config.wording import MOST_LISTED, key_name, unknown_key
from midigpt_core.errors import ConfigError, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Record = TypeVar("Record")

#: Entries of a list of bars or tracks: no piece has as many bars.
MOST_ENTRIES = 100_000


class RequestValidationError(ConfigError):
    """An invalid request. ``problems`` has one line for each problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        numbered = [f"({number}) {problem}" for number, problem in enumerate(problems[:MOST_LISTED], 1)]
        if len(problems) > MOST_LISTED:
            numbered.append(f"… and {len(problems) - MOST_LISTED} more.")
        super().__init__(problems[0] if len(problems) == 1 else f"{len(problems)} problems: {' '.join(numbered)}")

    def __reduce__(self) -> tuple[type, tuple[Sequence[str]]]:
        return type(self), (self.problems,)


def number(default: float | str, low: float, high: float, *, above: bool = False, below: bool = False) -> Any:
    """A field for a number between ``low`` and ``high``; ``above``, ``below``: excluding ``low``, ``high`` itself."""
    return attrs.field(default=default, converter=integer, metadata={"limits": Limits(low, high, above, below)})


def places(of: Literal["bar", "track"]) -> Any:
    """A field that lists bars or tracks of the score."""
    return attrs.field(default=(), converter=_integers, metadata={"places": of})


def listed(values: Any) -> Any:
    """An iterable as a tuple. Other values are returned unchanged; the type check reports them."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return values
    try:
        return tuple(islice(values, MOST_ENTRIES + 1))
    except TypeError:  # an array without dimensions
        return values


def _integers(values: Any) -> Any:
    entries = listed(values)
    return tuple(map(integer, entries)) if isinstance(entries, tuple) else entries


def integer(value: object) -> object:
    """An integer of NumPy, or another that has ``__index__``, as one of Python; other values as they are."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return value
    try:
        return operator.index(value)
    except TypeError:  # an array
        return value


def integers_within(value: object, depth: int = 8) -> Any:
    """``value`` with :func:`integer` of every key and value in the mappings, lists and tuples that it is made of, so
    many levels deep: no request is deeper."""
    if not depth:
        return value
    if isinstance(value, Mapping):
        made = {integer(key): integers_within(entry, depth - 1) for key, entry in value.items()}
        return made if len(made) == len(value) else value
    if isinstance(value, list | tuple):
        entries = [integers_within(entry, depth - 1) for entry in value]
        return entries if isinstance(value, list) else tuple(entries)
    return integer(value)


def says_the_field(where: str) -> Callable[[type[Record]], type[Record]]:
    """Let an attrs class name a keyword that it does not have (and the nearest), or that is missing, with the other
    values that do not fit, in one :class:`RequestValidationError`."""

    def decorate(kind: type[Record]) -> type[Record]:
        generated: Any = kind.__init__
        fields = attrs.fields(cast("Any", kind))
        names = [field.name for field in fields]
        keywords_only = all(field.kw_only for field in fields)

        @functools.wraps(generated)
        def __init__(self: Any, *arguments: Any, **values: Any) -> None:
            given = {**dict(zip(names, arguments, strict=False)), **values}
            if arguments and keywords_only:
                raise RequestValidationError([f"{kind.__name__} takes keywords alone. Write {names[0]}=… and so on."])
            needed = [field.name for field in fields if field.default is attrs.NOTHING]
            if any(name not in names for name in values) or any(name not in given for name in needed):
                raise RequestValidationError(list(name_problems(given, kind, where)))
            generated(self, *arguments, **values)

        cast("Any", kind).__init__ = __init__
        return kind

    return decorate


def typed_fields(kind: type) -> dict[str, attrs.Attribute[Any]]:
    """The fields of an attrs class by name, their types resolved."""
    return attrs.fields_dict(attrs.resolve_types(cast("Any", kind)))


def name_problems(given: Mapping[str, Any], kind: type, where: str) -> Iterator[str]:
    """What is wrong with the names and the types of ``given``, keywords of the attrs class ``kind``."""
    fields = typed_fields(kind)
    unknown = [name for name in given if name not in fields]
    for name in unknown[:MOST_LISTED]:
        yield f"{where}.{key_name(name)}: {unknown_key(name, fields, 'option')}"
    if len(unknown) > MOST_LISTED:
        yield f"{where}: {len(unknown) - MOST_LISTED} more unknown options."
    for name, field in fields.items():
        if name in given:
            converted = field.converter(given[name]) if callable(field.converter) else given[name]
            yield from (text for _, text in type_problems(converted, field, where))
        elif field.default is attrs.NOTHING:
            yield f"{where}.{name}: missing: it has no default."


def type_problems(value: object, field: attrs.Attribute[Any], where: str) -> Iterator[tuple[str, str]]:
    """The problems of ``value`` with the field's type: key path and a sentence each."""
    path = f"{where}.{field.name}"
    if isinstance(value, tuple) and len(value) > MOST_ENTRIES:
        yield path, f"{path} has more than {MOST_ENTRIES:,} entries. Leave out those that no piece has."
        return
    try:
        structure(value, field.type, path)
    except Mismatch as mismatch:
        yield from ((place, sentence(f"{place}: {problem}")) for place, problem in mismatch.problems)


def from_plain(values: object, kind: type[Record], where: str) -> Record:
    """``values`` (JSON) as an instance of an attrs class. Raises :class:`RequestValidationError`."""
    try:
        record: Record = structure(integers_within(values), kind, where)
    except Mismatch as mismatch:
        problems = [sentence(f"{path}: {problem}") for path, problem in mismatch.problems]
        raise RequestValidationError(problems) from mismatch
    return record


def sound_part(values: Mapping[str, Any], kind: type[Record], where: str) -> tuple[Record, list[str]]:
    """An instance made from the valid ``values``, and the problems of the others."""
    fields = typed_fields(kind)
    problems = list(name_problems(values, kind, where))
    usable = {
        name: value
        for name, value in values.items()
        if name in fields and not any(type_problems(value, fields[name], where))
    }
    return kind(**usable), problems
