"""Calls a plugin's component on a batch and turns an exception into an error that names the component and the piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from midigpt_core.errors import ComponentError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.components import ComponentRef

T = TypeVar("T")


def call_on_windows(component: ComponentRef, call: Callable[[slice], T], count: int, where: Callable[[int], str]) -> T:
    """Call ``call`` for all of ``count`` windows at once.

    If it fails, the windows are tried one by one, and a :class:`ComponentError` at ``where(window)`` names the one that
    fails; if none fails alone, it names the first. A component that fails inside another one, such as an attribute
    control of an encoder, is named itself. A :class:`DataError` is the data's fault and stays as it is.
    """
    try:
        return call(slice(0, count))
    except DataError:
        raise
    except Exception as error:
        for window in range(count):
            _call_on_one(component, call, window, where)
        raise _blamed(component, where(0), error) from error


def _call_on_one(
    component: ComponentRef, call: Callable[[slice], object], window: int, where: Callable[[int], str]
) -> None:
    try:
        call(slice(window, window + 1))
    except Exception as error:
        raise _blamed(component, where(window), error) from error


def _blamed(component: ComponentRef, where: str, error: Exception) -> ComponentError:
    if isinstance(error, ComponentError):
        return ComponentError(error.component, where, error.__cause__ or error)
    return ComponentError(str(component), where, error)
