"""``midigpt plugins list`` and ``midigpt plugins show``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs
import click

from midigpt_core.cli.echo import echo_json, echo_line, echo_lines
from midigpt_core.cli.groups import LazyGroup
from midigpt_core.cli.options import common_options
from midigpt_core.cli.selected import plugin_entries
from midigpt_core.cli.tables import table
from midigpt_core.errors import PluginError, unknown_name
from midigpt_core.plugins.describe import ComponentReport, PluginReport, describe
from midigpt_core.plugins.selection import normalise

if TYPE_CHECKING:
    from midigpt_core.plugins.discovery import PluginEntry


@common_options
@click.group(
    cls=LazyGroup,
    lazy_commands={
        "list": ("midigpt_core.cli.plugins:list_plugins", "List plugins with distribution and status."),
        "show": ("midigpt_core.cli.plugins:show_plugin", "Show what a plugin provides, with all options."),
        "install": ("midigpt_core.cli.manage_plugins:install_plugins", "Install plugins into this environment."),
        "upgrade": ("midigpt_core.cli.manage_plugins:upgrade_plugins", "Upgrade installed plugins."),
        "uninstall": ("midigpt_core.cli.manage_plugins:uninstall_plugins", "Remove installed plugins."),
        "check": ("midigpt_core.cli.check_plugin:check_plugin", "Run the test kit's checks of a plugin."),
        "new": ("midigpt_core.cli.new_plugin:new_plugin", "Write a plugin distribution to start from."),
    },
)
def plugins() -> None:
    """List, install, check and write plugins."""


@common_options
@click.command("list")
@click.option("--components", "with_components", is_flag=True, help="Import each plugin and list what it provides.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def list_plugins(ctx: click.Context, with_components: bool, as_json: bool) -> None:
    """List plugins with distribution and status. Only reads metadata unless --components is given."""
    entries = plugin_entries(ctx)
    if with_components:
        reports = [describe(entry) for entry in entries]
        if as_json:
            echo_json([_report_json(report) for report in reports])
        else:
            _echo_components(reports)
    elif as_json:
        echo_json([_entry_json(entry) for entry in entries])
    else:
        rows = [(e.name, e.version, e.distribution, e.module, e.status) for e in entries]
        echo_lines(table(("plugin", "version", "distribution", "module", "status"), rows))
        for entry in entries:
            if entry.reason and entry.status != "disabled":
                echo_line(f"{entry}: {entry.reason}", err=True)


@common_options
@click.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def show_plugin(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show what a plugin provides: kinds, components, options with type and default, import time, errors."""
    entries = plugin_entries(ctx)
    reports = [describe(entry) for entry in entries if entry.answers_to(name)]
    if not reports:
        raise PluginError(unknown_name("plugin", normalise(name), {entry.name for entry in entries}))
    if as_json:
        echo_json([_report_json(report) for report in reports])
        return
    for report in reports:
        _echo_report(report)


def _entry_json(entry: PluginEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "version": entry.version,
        "distribution": entry.distribution,
        "module": entry.module,
        "status": entry.status,
        "reason": entry.reason,
    }


def _report_json(report: PluginReport) -> dict[str, Any]:
    return {
        **_entry_json(report.entry),
        "import_seconds": round(report.import_seconds, 6),
        "error": report.error,
        "components": [attrs.asdict(component) for component in report.components],
    }


def _echo_components(reports: list[PluginReport]) -> None:
    rows = [
        (component.kind, component.name, report.entry.name, report.entry.origin, component.summary)
        for report in reports
        for component in report.components
    ]
    echo_lines(table(("kind", "name", "plugin", "distribution", "summary"), rows))
    for report in reports:
        if report.error:
            echo_line(f"{report.entry}: {report.error}", err=True)


def _echo_report(report: PluginReport) -> None:
    entry = report.entry
    echo_line(f"{entry}, {entry.status}, module {entry.module}, imported in {report.import_seconds * 1000:.1f} ms")
    if report.error:
        echo_line(f"  error: {report.error}")
    for component in report.components:
        _echo_component(component)


def _echo_component(component: ComponentReport) -> None:
    echo_line()
    echo_line(f"  {component.kind} {component.name}: {component.summary}")
    for label, names in (("provides", component.provides), ("requires", component.requires)):
        if names:
            echo_line(f"    {label} {', '.join(names)}")
    if component.error:
        echo_line(f"    error: {component.error}")
    for option in component.options:
        text = f"    {option.name} = {json.dumps(option.default, default=str)} ({option.type})"
        echo_line(f"{text}: {option.help}" if option.help else text)
