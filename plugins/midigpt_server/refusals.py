"""Requests that are refused, and values of JSON bodies that are checked one by one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from midigpt_core.config.wording import spell
from midigpt_core.errors import ComponentError, MidigptError
from midigpt_core.inference.plain import whole_numbers
from midigpt_core.terminal import logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_log = logger(__name__)
#: No field takes a larger number; NumPy holds it.
_LARGEST = 2**31 - 1
#: A note is six levels deep.
_DEEPEST = 32


class Refused(Exception):
    """An answer other than 200: ``status`` and the text of ``detail``."""

    def __init__(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def failure_text(error: BaseException) -> str:
    """The text that a client gets for a request that failed; the log gets the traceback of a bug.

    The message of an error that a user can act on. For a bug of a plugin: the plugin, its component and the method, but
    not the message of the exception, which can contain anything.
    """
    if isinstance(error, MidigptError):
        return str(error)
    _log.error("a request failed", exc_info=error)
    if isinstance(error, ComponentError):
        cause = "" if error.__cause__ is None else f": {type(error.__cause__).__name__}"
        return (
            f"{error.component} failed ({error.where}){cause}. This is a bug of the plugin. "
            "The server's log has the traceback."
        )
    return f"the generation failed ({type(error).__name__}). The server's log has the cause."


def an_object(value: Any, where: str, status: int = 422) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Refused(status, f"{where}: expected an object, got {spell(value)}.")
    return value


def a_list(value: Any, where: str, *, most: int, status: int = 422) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(status, f"{where}: expected a list, got {spell(value)}.")
    if len(value) > most:
        raise Refused(status, f"{where} has {len(value):,} entries. Send at most {most:,}.")
    return value


def whole(value: Any, where: str, low: int = -_LARGEST, high: int = _LARGEST) -> int:
    """An integer; 1.0 is 1, as JSON of some programs writes it."""
    number = whole_numbers(value)
    if isinstance(number, bool) or not isinstance(number, int):
        raise Refused(422, f"{where}: expected a whole number, got {spell(value)}.")
    if not low <= number <= high:
        raise Refused(422, f"{where} is {spell(number)}. Choose a value from {low} to {high}.")
    return number


def truth(value: Any) -> bool:
    """The truth value of a JSON value: as 0.4.2 does, 1 and ``"yes"`` are true, 0, ``""`` and null false."""
    return bool(value)


def check_values(value: Any, where: str) -> None:
    """Raises :class:`Refused` for NaN and infinity, which Python's reader accepts, and for lists and objects nested so
    deeply that readers would fail."""
    level = [value]
    for _ in range(_DEEPEST):
        if any(isinstance(one, float) and not math.isfinite(one) for one in level):
            raise Refused(422, f"{where} holds NaN or Infinity. Send finite numbers.")
        level = [inner for one in level for inner in _inner(one)]
        if not level:
            return
    raise Refused(422, f"{where} is nested deeper than {_DEEPEST} levels. Send it as /docs describes it.")


def _inner(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
