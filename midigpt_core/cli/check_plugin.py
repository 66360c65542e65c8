"""``midigpt plugins check``."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import click

from midigpt_core.cli.echo import echo_line
from midigpt_core.cli.new_plugin import KindName
from midigpt_core.cli.options import NAME, common_options, plugin_flags
from midigpt_core.cli.plugins import extensions
from midigpt_core.cli.selected import plugin_entries
from midigpt_core.errors import ConfigError, PluginError, unknown_name
from midigpt_core.plugins.loader import Rejected, rejecting
from midigpt_core.plugins.names import normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.kinds import Kind
    from midigpt_core.testing import Check


@common_options
@click.command("check")
@click.argument("name", type=NAME)
@click.option("--kind", type=KindName(), help="Only the checks of components of this kind.")
@click.option(
    "--paths",
    "assignments",
    multiple=True,
    metavar="SOURCE=PATH",
    help="A path that a data source can read; can be repeated.  [default: a folder of MIDI files]",
)
@click.pass_context
def check_plugin(ctx: click.Context, name: str, kind: Kind | None, assignments: tuple[str, ...]) -> None:
    """Run the test kit's checks of a plugin. The exit code is 1 if one fails."""
    entries = plugin_entries(ctx)
    if not any(entry.answers_to(name) for entry in entries):
        if found := next((one for one in extensions() if one.answers_to(name)), None):
            raise PluginError(
                f"{found} has no components, so the kit has no checks for it. Run its own tests: pytest in its folder."
            )
        raise PluginError(unknown_name("plugin", normalise(name), {entry.name for entry in entries}))
    paths: dict[str, list[str]] = {}
    for text in assignments:
        source, equals, path = text.partition("=")
        if not (source and equals and path):
            raise ConfigError(f"--paths {text!r}: is not of the form SOURCE=PATH. Name the data source and a path.")
        paths.setdefault(source, []).append(path)
    try:
        from midigpt_core.testing import checks_of
    except ModuleNotFoundError as error:
        if error.name != "pytest":
            raise
        raise PluginError("the checks need pytest. Install it: pip install pytest") from error
    checks: Sequence[Check] = checks_of(name, paths=paths, plugin_dirs=tuple(plugin_flags(ctx).plugin_dirs))
    if kind is not None:
        checks = [check for check in checks if check.id.startswith(f"{kind}-")]
        if not checks:
            raise PluginError(f"plugin {name!r} provides no {kind}. 'midigpt plugins show {name}' lists what it does.")
    failed = 0
    for check in checks:
        try:
            with rejecting("in a check"):
                check()
        except Rejected as rejection:
            failed += 1
            echo_line(f"FAILED  {check.id}: {_reason(rejection)}")
        else:
            echo_line(f"ok      {check.id}")
    echo_line(f"{len(checks) - failed} of {len(checks)} checks passed.")
    if failed:
        ctx.exit(1)


def _reason(rejection: Rejected) -> str:
    """What went wrong, in one line; for an assertion, its message or else the assertion."""
    error = rejection.__cause__
    if not isinstance(error, AssertionError):
        return str(rejection)
    return " ".join(str(error).split()) or str(traceback.extract_tb(error.__traceback__)[-1].line)
