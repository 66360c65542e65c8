"""Options that every command takes, and options that take several values at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from midigpt_core.paths import EMPTY, path_problem, usable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)


class _Name(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions
    """Text that must not be empty; an unset shell variable gives an empty argument."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail(f"{EMPTY}. Leave the option out, or give it a value", param, ctx)
        return str(value)


class _PathName(click.ParamType):  # type: ignore[type-arg]
    """A path, or a pattern or name given in place of one; ``~`` is the home folder."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        problem = path_problem(text)
        if problem:
            self.fail(f"{text[:200]}: {problem}" if text else problem, param, ctx)
        # A Path would drop the "./" from "./~old", and "~old" is a home folder.
        return str(usable_path(text)) if text.startswith("~") else text


class _BundleName(_PathName):
    """The path of a bundle, or the name of a model on the Hugging Face Hub: see :func:`fetched`."""

    name = "bundle"


#: The types of options that name something, and of options that name files or folders. Both reject an empty value.
NAME = _Name()
PATH = _PathName()


class FiniteRange(click.FloatRange):
    """A range of numbers; click's takes "nan" for one within it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


#: The type of options that name a bundle.
BUNDLE = _BundleName()


def fetched(bundle: str) -> str:
    """The path of a bundle that a user named, which is fetched if it is on the Hub. Call it when everything else that
    was asked for is known to be possible. Raises :class:`midigpt_core.errors.CheckpointError`."""
    if Path(bundle).exists():
        return bundle
    from midigpt_core.checkpoint.hub import bundle_path

    return str(bundle_path(bundle))


SOURCE_HELP = "Data source component.  [default: the one that reads what the paths lead to]"
#: Options of the data source, for commands that take no other settings.
SOURCE_OPTIONS = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the data source, e.g. source.min_notes=100.",
)


class PluginFlags:
    """The plugin options of one invocation, from before and after the subcommand."""

    def __init__(self) -> None:
        self.plugins: list[str] = []
        self.disabled: list[str] = []
        self.plugin_dirs: list[str] = []
        self.third_parties = True


def plugin_flags(ctx: click.Context) -> PluginFlags:
    return ctx.find_root().ensure_object(PluginFlags)


def _collect(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    flags = plugin_flags(ctx)
    if parameter.name == "no_plugins":
        flags.third_parties &= not value
    else:
        collected: list[str] = getattr(flags, str(parameter.name))
        collected.extend(value)


def common_options(command: Command) -> Command:
    """Add ``--plugin``, ``--no-plugin``, ``--no-plugins``, ``--plugins-dir`` and ``--traceback``."""
    for option in (
        click.option("--traceback", is_flag=True, expose_value=False, help="Show where an error came from."),
        click.option(
            "--plugins-dir", "plugin_dirs", type=PATH, multiple=True, metavar="DIR", expose_value=False,
            callback=_collect, help="Also use the plugins in this folder.",
        ),
        click.option(
            "--no-plugins", is_flag=True, expose_value=False, callback=_collect,
            help="Use only bundled plugins and the plugins that --plugin names.",
        ),
        click.option(
            "--no-plugin", "disabled", type=NAME, multiple=True, metavar="NAME", expose_value=False, callback=_collect,
            help="Do not use this plugin.",
        ),
        click.option(
            "--plugin", "plugins", type=NAME, multiple=True, metavar="NAME", expose_value=False, callback=_collect,
            help="Require this plugin. If it has exactly one data source, use that.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


class Several(click.Option):
    """An option that takes all values up to the next option: ``--train-data A B C`` as a shell expands ``*``."""

    def __init__(self, declarations: Sequence[str], **settings: Any) -> None:
        super().__init__(declarations, **{"multiple": True, **settings})


def data_argument(command: Command) -> Command:
    """Add the argument ``DATA...``: paths before the first option, or after ``--``."""
    return click.argument("data_paths", nargs=-1, type=PATH, metavar="DATA...")(command)


def one_spelling(ctx: click.Context, arguments: Sequence[str], option: Sequence[str]) -> tuple[str, ...]:
    """The paths given as ``DATA...`` or with the option for them. Raises :class:`click.UsageError` for both."""
    if arguments and option:
        raise click.UsageError(
            f"Got unexpected extra argument ({arguments[0]}). Put it after the option it belongs to: {_several(ctx)}",
            ctx,
        )
    return tuple(arguments or option)


def _several(ctx: click.Context) -> str:
    """``--data or --eval-data``"""
    return " or ".join("/".join(option.opts) for option in ctx.command.params if isinstance(option, Several))


class SeveralCommand(click.Command):
    """A command whose :class:`Several` options take many values; positional arguments precede such an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        flags = {flag for option in self.params if isinstance(option, Several) for flag in option.opts}
        spread: list[str] = []
        flag, taken = None, 0
        for argument in args:
            if argument.startswith("-") and argument != "-":
                name, equals, _ = argument.partition("=")
                flag, taken = (name if name in flags else None), int(bool(equals))
            elif flag is not None:
                if taken:
                    spread.append(flag)
                taken += 1
            spread.append(argument)
        try:
            return super().parse_args(ctx, spread)
        except click.UsageError as error:
            # click has no error class for unexpected arguments.
            if type(error) is not click.UsageError or not error.message.startswith("Got unexpected"):
                raise
            raise click.UsageError(
                f"{error.message}. Put it after the option it belongs to: {_several(ctx)}", ctx
            ) from error
