"""Calls a plugin's component on a batch and turns an exception into an error that names the component and the piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from midigpt_core.errors import ComponentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.components import ComponentRef

T = TypeVar("T")


def call_on_windows(component: ComponentRef, call: Callable[[slice], T], count: int, where: Callable[[int], str]) -> T:
    """Call ``call`` for all of ``count`` windows at once.

    If it fails, the windows are tried one by one, and a :class:`ComponentError` at ``where(window)`` names the one that
    fails; if none fails alone, it names the first.
    """
    try:
        return call(slice(0, count))
    except Exception as error:
        for window in range(count):
            _call_on_one(component, call, window, where)
        raise ComponentError(str(component), where(0), error) from error


def _call_on_one(
    component: ComponentRef, call: Callable[[slice], object], window: int, where: Callable[[int], str]
) -> None:
    try:
        call(slice(window, window + 1))
    except Exception as error:
        raise ComponentError(str(component), where(window), error) from error
