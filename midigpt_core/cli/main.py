"""The entry point: an error that the user can fix, or of a plugin, becomes one line and exit code 2; a bug of the core
keeps its traceback."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import midigpt_core
from midigpt_core.cli.echo import echo_line, echo_lines, echo_traceback, guard_streams
from midigpt_core.cli.groups import LazyGroup
from midigpt_core.cli.root import root
from midigpt_core.cli.streams import enduring_streams
from midigpt_core.errors import ComponentError, MidigptError, RankLost, RunStopped, sentence
from midigpt_core.interrupts import GRACE_S, Interrupts
from midigpt_core.system import capabilities
from midigpt_core.system.signals import BROKEN_PIPE_EXIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midigpt_core.cli.streams import Drain

INTERRUPTED = 130
PUBLIC_PACKAGE = "midigpt"
# Newer versions of click raise this, with the group's help, for a group without a command.
_HELP_INSTEAD = getattr(click.exceptions, "NoArgsIsHelpError", ())


def main(arguments: Sequence[str] | None = None) -> int:
    """The program ``midigpt``; returns its exit code."""
    return run(root, "midigpt", arguments)


def run(command: click.Command, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command as a program called ``name``; returns the exit code.

    The code is 2 for wrong usage, every :class:`MidigptError` and every :class:`ComponentError`, 130 after Ctrl-C, and
    128 plus the signal's number after a signal that ended a run. ``--traceback`` among the arguments shows where an
    error came from. A second Ctrl-C ends the process at once.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    guard_streams()
    if not isinstance(command, LazyGroup):  # a LazyGroup does so when it finds a command
        from midigpt_core.cli.log_lines import guard_log

        guard_log()

    def say_so(_number: signal.Signals) -> None:
        if not interrupts.left_within(GRACE_S):
            echo_line("Stopping. Press Ctrl-C again to stop now.", err=True)

    interrupts = Interrupts((signal.SIGINT,), say_so, signal.default_int_handler, ending=_end_by)
    with enduring_streams() as output, interrupts:
        code = _exit_code(command, name, arguments)
        return code or _lost(output)


def _exit_code(command: click.Command, name: str, arguments: list[str]) -> int:
    try:
        _require_built()
        _require_capabilities()
        if not {"--json", "--help", "-h"} & set(arguments):
            _note_public_package()
        result = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except RunStopped as stopped:
        if stopped.rank == 0:
            echo_line(str(stopped), err=True)
        return stopped.exit_code
    except MidigptError as error:
        if "--traceback" in arguments:
            echo_traceback(error)
        if not isinstance(error, RankLost) or error.rank == 0:
            echo_line(f"Error: {error}", err=True)
        return error.exit_code
    except ComponentError as error:
        if "--traceback" in arguments:
            echo_traceback(error)
        line = sentence(" ".join(str(error).split()))
        echo_line(f"Error: {line} This is a bug of the plugin; --traceback shows where it happened.", err=True)
        return MidigptError.exit_code
    except (click.Abort, KeyboardInterrupt):
        echo_line("Interrupted.", err=True)
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _end_by() -> Callable[[int], None]:
    from midigpt_core.system.ending import end_by

    return end_by


def _lost(output: Drain | None) -> int:
    """The exit code of a command that succeeded: 0 unless its output could not be printed."""
    if output is None or output.failure is None:
        return 0
    if isinstance(output.failure, BrokenPipeError):  # `| head` closes the pipe when it has enough
        return BROKEN_PIPE_EXIT
    reason = os.strerror(output.failure.errno or 0)
    echo_line(f"Error: standard output cannot be written ({reason}): the result is lost. Run it again.", err=True)
    return MidigptError.exit_code


def _show(error: click.ClickException) -> None:
    message, context = error.format_message(), getattr(error, "ctx", None)
    if isinstance(error, _HELP_INSTEAD):
        echo_lines(message)
        return
    # click writes the choices of a missing option on lines of their own.
    message = " ".join(message.split())
    if context is not None:
        echo_line(f"Error: {sentence(message)} '{context.command_path} --help' shows the usage.", err=True)
    else:
        echo_line(f"Error: {message}", err=True)


def _require_built() -> None:
    """Fail in a source tree that was never built; it hides an installed wheel if Python starts inside the tree."""
    if importlib.util.find_spec("midigpt_core._native") is None:
        folder = Path(midigpt_core.__file__).parent
        raise MidigptError(
            f"{folder} is a source tree without its native module. Run 'pip install -e .' in {folder.parent}, "
            "or start from another folder to use an installed wheel."
        )


def _require_capabilities() -> None:
    if wrong := capabilities.unknown():
        names = ", ".join(capabilities.NAMES)
        raise MidigptError(
            f"{capabilities.VARIABLE}: there is no capability {wrong[0]!r}. "
            f"Name some of {names}, or {capabilities.ALL}."
        )


def _note_public_package() -> None:
    """Warn if the public distribution ``midigpt`` is installed: both use the folder ``midigpt`` and overwrite it."""
    try:
        version = importlib.metadata.version(PUBLIC_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return
    echo_line(
        f"Note: the public package {PUBLIC_PACKAGE} {version} is installed together with midigpt-core and shares its "
        "folder 'midigpt'. Uninstall both and install one, or keep each in an environment of its own.",
        err=True,
    )
