"""Command groups that list commands by name and summary and import a command only when it is invoked."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.options import plugin_flags
from midigpt_core.errors import PluginError, nearest
from midigpt_core.plugins.names import CORE_DISTRIBUTION, normalise
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

THIRD_PARTY_COMMANDS = "midigpt_core.commands"


class LazyGroup(click.Group):
    """Commands as ``{name: ("package.module:command", summary)}``, in the form of an entry point's value.

    ``entry_point_group`` adds commands of other distributions. Listing them reads metadata; invoking one imports it.
    """

    def __init__(
        self,
        *,
        lazy_commands: Mapping[str, tuple[str, str]],
        entry_point_group: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._lazy_commands = lazy_commands
        self._entry_point_group = entry_point_group

    @property
    def own_commands(self) -> frozenset[str]:
        """The names of commands that are not other distributions'."""
        return frozenset(self._lazy_commands)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self._lazy_commands, *self._third_parties(ctx)])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        from midigpt_core.cli.log_lines import guard_log

        guard_log()
        if cmd_name in self._lazy_commands:
            return _own(cmd_name, self._lazy_commands[cmd_name][0])
        points = self._third_parties(ctx).get(cmd_name, [])
        if len(points) > 1:
            origins = " and ".join(_origin(point) for point in points)
            raise PluginError(f"command {cmd_name!r} is provided by {origins}. Uninstall one of them.")
        return _foreign(points[0]) if points else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and any(point.name == name for point in self._points()):
            ctx.fail(f"command {name!r} is a plugin's, which --no-plugins or --no-plugin leaves out.")
        if name not in known and not name.startswith("-"):
            ctx.fail(f"no command named {name!r}.{nearest(name, known)} Available: {', '.join(known)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary) for name, (_, summary) in sorted(self._lazy_commands.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        foreign = self._third_parties(ctx)
        if foreign:
            with formatter.section("Commands of plugins"):
                rows = [
                    (printable(name), printable(f"from {', '.join(map(_origin, points))}"))
                    for name, points in sorted(foreign.items())
                ]
                formatter.write_dl(rows)

    def _third_parties(self, ctx: click.Context) -> dict[str, list[importlib.metadata.EntryPoint]]:
        found: dict[str, list[importlib.metadata.EntryPoint]] = {}
        for point in self._points():
            if point.name not in self._lazy_commands and _is_wanted(point, ctx):
                found.setdefault(point.name, []).append(point)
        return found

    def _points(self) -> Iterable[importlib.metadata.EntryPoint]:
        if self._entry_point_group is None:
            return ()
        return importlib.metadata.entry_points(group=self._entry_point_group)


def _is_wanted(point: importlib.metadata.EntryPoint, ctx: click.Context) -> bool:
    """Whether the plugin options before the command allow a command of another distribution."""
    distribution = normalise(point.dist.name) if point.dist is not None else ""
    if distribution == CORE_DISTRIBUTION:
        return True
    names, flags = {normalise(point.name), distribution}, plugin_flags(ctx)
    if names & set(map(normalise, flags.disabled)):
        return False
    return flags.third_parties or bool(names & set(map(normalise, flags.plugins)))


def _origin(point: importlib.metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"


def _own(name: str, target: str) -> click.Command:
    command: click.Command = importlib.metadata.EntryPoint(name, target, group="").load()
    return command


def _foreign(point: importlib.metadata.EntryPoint) -> click.Command:
    try:
        command = point.load()
    except (Exception, SystemExit) as error:
        raise PluginError(
            f"command {point.name!r} ({_origin(point)}) cannot be used: {type(error).__name__}: {error}. "
            "Repair or uninstall that distribution."
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(
            f"command {point.name!r} ({_origin(point)}) is not a click command. Uninstall that distribution."
        )
    return command
