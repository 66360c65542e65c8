"""``midigpt help``."""

from __future__ import annotations

import click

from midigpt_core.cli.echo import echo_lines
from midigpt_core.cli.options import NAME, common_options
from midigpt_core.errors import nearest


@common_options
@click.command("help")
@click.argument("command", nargs=-1, type=NAME)
@click.pass_context
def help_on(ctx: click.Context, command: tuple[str, ...]) -> None:
    """Show the usage of COMMAND, as COMMAND --help does; without COMMAND, list the commands."""
    shown = ctx.find_root()
    for name in command:
        group = shown.command
        found = group.get_command(shown, name) if isinstance(group, click.Group) else None
        if found is None:
            known = group.list_commands(shown) if isinstance(group, click.Group) else []
            listed = f" Available: {', '.join(known)}." if known else ""
            raise click.UsageError(
                f"{shown.command_path}: no command named {name!r}.{nearest(name, known)}{listed}", ctx
            )
        shown = click.Context(found, parent=shown, info_name=name)
    echo_lines(shown.get_help())
