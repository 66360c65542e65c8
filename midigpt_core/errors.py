"""Errors that a user can act on. Each message names what is wrong and where, and ends with the next action.

The command line prints a :class:`MidigptError` as one line and exits with :attr:`MidigptError.exit_code`. A bug in a
plugin's component is a :class:`ComponentError`, printed in the same way. Every other exception keeps its traceback.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def readable_name(path: str | os.PathLike[str]) -> str:
    """A path as text that can be printed and stored: bytes that are not UTF-8 become ``\\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


class MidigptError(Exception):
    """Base class of errors that the user, not the programmer, can fix."""

    exit_code = 2


class ConfigError(MidigptError):
    """A configuration key or value that cannot be used; names the key's path."""


class DataError(MidigptError):
    """A file or row that cannot be used; names the file, and the row or field."""


class CorpusError(DataError):
    """A corpus that is damaged, missing or of another version."""


class CheckpointError(MidigptError):
    """A bundle or checkpoint that cannot be read, written or continued from."""


class TrainingError(MidigptError):
    """A run that cannot continue, for example because the loss is not finite or memory runs out."""


class RankLost(TrainingError):
    """A run that cannot continue because one of its processes ended or hangs.

    All remaining ranks raise it; only the one with ``rank`` 0 prints the message.
    """

    def __init__(self, message: str, *, rank: int = 0) -> None:
        super().__init__(message)
        self.rank = rank


class RunStopped(MidigptError):
    """A run that a signal stopped, with a checkpoint to continue from; ``exit_code`` is 128 plus the signal's number.

    All ranks of a run raise it; ``rank`` is the rank of this process, and only rank 0 prints the message.
    """

    def __init__(self, message: str, signal_number: int, *, rank: int = 0) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number
        self.rank = rank


class EncodingError(MidigptError):
    """A score or request that an encoder cannot express, or tokens that it cannot decode."""


class PluginError(MidigptError):
    """A requested plugin that cannot be used, or a component name that cannot be resolved."""


class ComponentError(Exception):
    """A bug in a plugin's component, raised where it happened. Not a :class:`MidigptError`, because no user can fix it.
    A command prints it in one line all the same, and its traceback with ``--traceback``.

    ``component`` reads ``mask 'swing' of midigpt-plugin-acme 0.3``; ``where`` names the piece, row or step.
    """

    def __init__(self, component: str, where: str, cause: BaseException) -> None:
        super().__init__(f"{component} failed ({where}): {type(cause).__name__}: {cause}")
        self.component = component
        self.where = where

    def __reduce__(self) -> tuple[Callable[[str, str, str], ComponentError], tuple[str, str, str]]:
        return ComponentError.copy, (str(self), self.component, self.where)

    @classmethod
    def copy(cls, message: str, component: str, where: str) -> ComponentError:
        """A copy for another process; its cause stays where it happened."""
        error = cls.__new__(cls, message)
        error.component, error.where = component, where
        return error


def sentence(text: str) -> str:
    """``text`` with a full stop, unless it already ends with one, a question mark or an exclamation mark."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def nearest(name: str, names: Iterable[str]) -> str:
    """``" Did you mean 'x'?"`` for the closest of ``names``, or an empty string."""
    matches = get_close_matches(name, list(names), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def unknown_name(kind: str, name: str, names: Iterable[str]) -> str:
    """The message for a name that is not in ``names``: it suggests the nearest name and lists all of them."""
    available = sorted(names)
    listed = ", ".join(available) if available else "none"
    return f"no {kind} named {name!r}.{nearest(name, available)} Available: {listed}."
