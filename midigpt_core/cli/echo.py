"""Prints everything that the command line prints, except progress bars, which show figures only."""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.streams import aside
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from types import TracebackType


def echo_line(text: str = "", *, err: bool = False) -> None:
    """Print one line; characters of ``text`` that a terminal would act on are escaped."""
    click.echo(printable(text, None), err=err)


def echo_lines(text: str, *, err: bool = False) -> None:
    """Print text of several lines. Parts from elsewhere must be ``printable`` already: see ``tables``."""
    click.echo(printable_lines(text), err=err)


def remark_line(text: str = "") -> None:
    """Print one line about files that the command wrote. The command succeeds even if the line cannot be printed."""
    with aside():
        echo_line(text)


def remark_lines(text: str) -> None:
    """:func:`remark_line` for text of several lines, as :func:`echo_lines` takes it."""
    with aside():
        echo_lines(text)


def echo_json(value: Any, *, indent: int | None = 2) -> None:
    """Print JSON as ASCII. ``json`` escapes every control character except DEL, which is escaped here."""
    import json

    click.echo(json.dumps(value, indent=indent, default=str).replace("\x7f", "\\u007f"))


def guard_streams() -> None:
    """Pass tracebacks and warnings, which this module does not print, through ``printable`` too. For log records see
    :mod:`midigpt_core.cli.log_lines`."""
    sys.excepthook = _print_traceback
    if warnings.formatwarning is not _format_warning:
        warnings.formatwarning = _format_warning


def printable_lines(text: str) -> str:
    """Text of several lines, each made ``printable``."""
    return "\n".join(printable(line, None) for line in text.split("\n"))


def echo_traceback(error: BaseException) -> None:
    """Print an exception with its traceback on standard error."""
    echo_lines("\n".join(map(_indented, traceback.format_exception(error))), err=True)


def _indented(entry: str) -> str:
    """An entry of a traceback. Later lines of a message are indented: a path in it may contain line breaks."""
    first, *more = entry.strip("\n").split("\n")
    return "\n".join([first, *(line if line.startswith(" ") else f"    {line}" for line in more)])


def _print_traceback(_kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    echo_traceback(error.with_traceback(trace))


_formatwarning = warnings.formatwarning


def _format_warning(*args: Any, **more: Any) -> str:
    return printable_lines(_formatwarning(*args, **more))
