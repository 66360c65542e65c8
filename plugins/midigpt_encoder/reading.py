"""Reads values from parsed JSON strictly: every error names the configuration and the key's path."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from midigpt_core.config.wording import spell
from midigpt_core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")
_INT32 = range(-(2**31), 2**31)
# The most known names that an error lists.
_NAMED = 20


class Reader:
    """Reads the values of one configuration, called ``origin`` in messages, and records the keys that it ignores."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.ignored: list[str] = []

    def error(self, path: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.origin}: {path}: {problem}" if path else f"{self.origin}: {problem}")

    def integer(self, value: Any, path: str) -> int:
        """An integer. Reals are truncated, as this format has always done; booleans are not numbers."""
        # An integer may be too large for a float.
        is_number = type(value) is int or (isinstance(value, float) and math.isfinite(value))
        if not is_number:
            raise self.error(path, f"{spell(value)} is not an integer. Write one without quotes.")
        if int(value) not in _INT32:
            raise self.error(path, f"{spell(value)} is out of range. Write a number of at most 31 bits.")
        return int(value)

    def boolean(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise self.error(path, f"{spell(value)} is not a boolean. Write true or false.")
        return value

    def string(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            raise self.error(path, f"{spell(value)} is not a string. Write it in quotes.")
        return value

    def name(self, value: Any, path: str, kind: str, names: Iterable[str]) -> str:
        """One of ``names``."""
        text, known = self.string(value, path), sorted(names)
        if text not in known:
            more = f" and {len(known) - _NAMED:,} more" if len(known) > _NAMED else ""
            hint = nearest(text[:80], known) or f" Known: {', '.join(known[:_NAMED])}{more}."
            raise self.error(path, f"no {kind} named {spell(text)}.{hint}")
        return text

    def items(self, value: Any, path: str, read: Callable[[Any, str], _T]) -> tuple[_T, ...]:
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise self.error(path, f"{spell(value)} is not a list. Write one in brackets.")
        return tuple(read(item, f"{path}[{index}]") for index, item in enumerate(value))

    def mapping(self, value: Any, path: str, known: Iterable[str] | None = None) -> Mapping[str, Any]:
        """An object. Keys not in ``known`` are ignored and recorded."""
        if not isinstance(value, Mapping):
            raise self.error(path, f"{spell(value)} is not an object. Write one in braces.")
        if known is not None:
            prefix = f"{path}." if path else ""
            self.ignored += [f"{prefix}{key}" for key in value if key not in known]
        return value
