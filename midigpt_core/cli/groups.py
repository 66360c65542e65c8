"""Command groups that know their commands by name and summary and import one only when it is invoked."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.doors import later
from midigpt_core.errors import PluginError, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

THIRD_PARTY_COMMANDS = "midigpt_core.commands"


class LazyGroup(click.Group):
    """Commands as ``{name: ("package.module:command", summary)}``.

    ``entry_point_group`` adds those of other distributions: listing them reads metadata, invoking one imports it.
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

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self._lazy_commands, *self._third_parties()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self._lazy_commands:
            command: click.Command = later(self._lazy_commands[cmd_name][0])
            return command
        entry_point = self._third_parties().get(cmd_name)
        return None if entry_point is None else _foreign(entry_point)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            ctx.fail(f"no command named {name!r}.{nearest(name, known)} Available: {', '.join(known)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, summary) for name, (_, summary) in sorted(self._lazy_commands.items())]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        foreign = self._third_parties()
        if foreign:
            with formatter.section("Commands of plugins"):
                formatter.write_dl([(name, _origin(point)) for name, point in sorted(foreign.items())])

    def _third_parties(self) -> dict[str, importlib.metadata.EntryPoint]:
        if self._entry_point_group is None:
            return {}
        points = importlib.metadata.entry_points(group=self._entry_point_group)
        return {point.name: point for point in points if point.name not in self._lazy_commands}


def _origin(point: importlib.metadata.EntryPoint) -> str:
    return f"from {point.dist.name} {point.dist.version}" if point.dist is not None else ""


def _foreign(point: importlib.metadata.EntryPoint) -> click.Command:
    try:
        command = later(point.value)
    except Exception as error:
        raise PluginError(
            f"command {point.name!r} ({_origin(point)}) cannot be used: {type(error).__name__}: {error}. "
            "Repair or uninstall that distribution."
        ) from error
    if not isinstance(command, click.Command):
        raise PluginError(
            f"command {point.name!r} ({_origin(point)}) is no click command. Uninstall that distribution."
        )
    return command
