"""``midigpt plugins list`` and ``midigpt plugins show``."""

from __future__ import annotations

import importlib.metadata
import inspect
import json
import time
from typing import TYPE_CHECKING, Any

import attrs
import click
from attrs import evolve, frozen

from midigpt_core.cli.echo import echo_json, echo_line, echo_lines
from midigpt_core.cli.groups import THIRD_PARTY_COMMANDS, LazyGroup
from midigpt_core.cli.options import NAME, common_options
from midigpt_core.cli.root import root
from midigpt_core.cli.selected import plugin_entries
from midigpt_core.cli.tables import table
from midigpt_core.config.json_schema import DRAFT
from midigpt_core.corpus.engines import GROUP as ENGINES
from midigpt_core.errors import PluginError, unknown_name
from midigpt_core.kinds import RUN_KINDS, Kind
from midigpt_core.plugins.describe import ComponentReport, PluginReport, describe
from midigpt_core.plugins.loader import Rejected, rejecting
from midigpt_core.plugins.names import normalise
from midigpt_core.plugins.targets import import_target

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
    """List plugins with distribution and status, and the engines and commands that distributions add.

    Only reads metadata unless --components is given.
    """
    entries = plugin_entries(ctx)
    if with_components:
        reports = [describe(entry) for entry in entries]
        if as_json:
            echo_json([_report_json(report) for report in reports])
        else:
            _echo_components(reports)
    elif as_json:
        echo_json([*map(_entry_json, entries), *map(_extension_json, extensions())])
    else:
        rows = [(e.name, e.version, e.distribution, e.module, e.status) for e in entries]
        echo_lines(table(("plugin", "version", "distribution", "module", "status"), rows))
        if found := extensions():
            others = [(f"{e.what} {e.name}", e.version, e.distribution, e.module, e.status) for e in found]
            echo_line()
            echo_lines(table(("engine or command", "version", "distribution", "module", "status"), others))
        for extension in extensions():
            if extension.reason:
                echo_line(f"{extension}: {extension.reason}. Uninstall one of them.", err=True)
        for entry in entries:
            if entry.reason and entry.status != "disabled":
                echo_line(f"{entry}: {entry.reason}", err=True)


@common_options
@click.command("show")
@click.argument("name", type=NAME)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--json-schema", "as_schema", is_flag=True, help="Print a JSON Schema of the settings that choose its components."
)
@click.pass_context
def show_plugin(ctx: click.Context, name: str, as_json: bool, as_schema: bool) -> None:
    """Show what a plugin provides: kinds, components, options with type and default, import time, errors.

    NAME is that of a plugin, a distribution, an engine or a command of a distribution.
    """
    entries = plugin_entries(ctx)
    others = [found for found in extensions() if found.answers_to(name)]
    reports = [describe(entry) for entry in entries if entry.answers_to(name)]
    if not reports and not others:
        known = {entry.name for entry in entries} | {found.name for found in extensions()}
        raise PluginError(unknown_name("plugin", normalise(name), known))
    if as_schema:
        echo_json(_schema(reports, others))
        return
    if as_json:
        echo_json([*map(_report_json, reports), *(_extension_json(found) | found.loaded() for found in others)])
        return
    for report in reports:
        _echo_report(report)
    for found in others:
        _echo_extension(found)


@frozen
class Extension:
    """An engine or a command that a distribution adds; it has no hooks and no components."""

    #: ``engine`` or ``command``.
    what: str
    name: str
    #: What the entry point names: ``package.module:object``.
    module: str
    distribution: str
    version: str
    #: ``active``, or ``conflict`` if something else has its name; then ``reason`` says what.
    status: str = "active"
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.name!r} ({self.distribution} {self.version})"

    def answers_to(self, name: str) -> bool:
        return normalise(name) in (normalise(self.name), normalise(self.distribution))

    def loaded(self) -> dict[str, Any]:
        """Import it: ``import_seconds``, ``summary`` (the first line of its docstring), ``error`` and ``status``."""
        begin, summary, error = time.perf_counter(), "", ""
        try:
            with rejecting("while it was imported"):
                found = import_target(self.module)
                summary = (inspect.getdoc(getattr(found, "callback", None) or found) or "").partition("\n")[0]
        except Rejected as rejection:
            error = str(rejection)
        seconds = round(time.perf_counter() - begin, 6)
        status = "broken" if error and self.status == "active" else self.status
        return {"import_seconds": seconds, "summary": summary, "error": error, "status": status}


def extensions() -> list[Extension]:
    """The engines and commands of all distributions, from metadata alone."""
    found = [
        Extension(
            what=what,
            name=point.name,
            module=point.value,
            distribution=normalise(point.dist.name) if point.dist else "",
            version=point.dist.version if point.dist else "",
        )
        for what, group in (("command", THIRD_PARTY_COMMANDS), ("engine", ENGINES))
        for point in sorted(importlib.metadata.entry_points(group=group), key=lambda point: point.name)
    ]
    return [evolve(one, status="conflict", reason=rival) if (rival := _rival(one, found)) else one for one in found]


def _rival(extension: Extension, found: list[Extension]) -> str:
    """What has the name of an extension and makes it unusable; empty if nothing does."""
    if extension.what == "command" and extension.name in root.own_commands:
        return f"{extension.name!r} is a command of midigpt-core"
    rivals = [str(one) for one in found if (one.what, one.name) == (extension.what, extension.name)]
    return f"{' and '.join(rivals)} have one name" if len(rivals) > 1 else ""


def _entry_json(entry: PluginEntry) -> dict[str, Any]:
    return {
        "what": "plugin",
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
        "status": report.status,
        "import_seconds": round(report.import_seconds, 6),
        "error": report.error,
        "components": [
            attrs.asdict(component, filter=attrs.filters.exclude(attrs.fields(ComponentReport).schema))
            for component in report.components
        ],
    }


def _extension_json(found: Extension) -> dict[str, Any]:
    return attrs.asdict(found)


def _schema(reports: list[PluginReport], others: list[Extension]) -> dict[str, Any]:
    """A schema of the part of a configuration that chooses these components; ``$defs`` has the block of each.

    Raises :class:`PluginError` if there is no component, or one whose options cannot be read.
    """
    broken = [(str(report.entry), report.error) for report in reports]
    broken += [(f"{part.kind.words} {part.name!r}", part.error) for report in reports for part in report.components]
    for what, error in broken:
        if error:
            raise PluginError(f"{what} has no schema: {error}. Repair or uninstall it.")
    parts = [(report.entry.name, component) for report in reports for component in report.components]
    if not parts:
        what = " and ".join(map(str, [*(report.entry for report in reports), *others]))
        raise PluginError(f"{what} provides no component, so there is nothing to choose in a configuration.")
    choices: dict[Kind, list[Any]] = {}
    blocks: dict[str, Any] = {}
    for plugin, component in parts:
        key = f"{component.kind.setting}.{plugin}.{component.name}"
        names = {"enum": [component.name, f"{plugin}/{component.name}"]}
        blocks[key] = _block(component, names)
        # An attribute control is chosen by its name alone.
        block = [] if component.kind is Kind.ATTRIBUTE else [{"$ref": f"#/$defs/{key}"}]
        choices.setdefault(component.kind, []).extend([names, *block])
    return {
        "$schema": DRAFT,
        "title": ", ".join(str(report.entry) for report in reports),
        "type": "object",
        "properties": _settings(choices),
        "$defs": blocks,
    }


def _settings(choices: dict[Kind, list[Any]]) -> dict[str, Any]:
    """The schemas of the settings that choose components, by name: one component, or a list of them."""
    settings: dict[str, Any] = {kind.setting: {"anyOf": choices[kind]} for kind in RUN_KINDS if kind in choices}
    lists = {kind: {"type": "array", "items": {"anyOf": values}} for kind, values in choices.items()}
    if Kind.METRIC in choices:
        settings["metrics"] = lists[Kind.METRIC]
    if Kind.ATTRIBUTE in choices:
        # Also of an encoder that another plugin provides.
        encoder = settings.setdefault(Kind.ENCODER.setting, {})
        encoder["properties"] = {"attributes": lists[Kind.ATTRIBUTE]}
    return settings


def _block(component: ComponentReport, names: dict[str, Any]) -> dict[str, Any]:
    """The schema of ``{"name": NAME, OPTIONS…}``."""
    return {
        **component.schema,
        "description": component.summary,
        "properties": {"name": names, **component.schema.get("properties", {})},
        "required": ["name"],
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
    echo_line(f"{entry}, {report.status}, module {entry.module}, imported in {report.import_seconds * 1000:.1f} ms")
    if report.error:
        echo_line(f"  error: {report.error}")
    for component in report.components:
        _echo_component(component)


def _echo_extension(found: Extension) -> None:
    facts = found.loaded()
    echo_line(f"{found}, {facts['status']}, {found.module}, imported in {facts['import_seconds'] * 1000:.1f} ms")
    echo_line(f"  error: {facts['error']}" if facts["error"] else f"  {facts['summary']}")


def _echo_component(component: ComponentReport) -> None:
    echo_line()
    echo_line(f"  {component.kind} {component.name}: {component.summary}")
    for label, names in (("provides", component.provides), ("requires", component.requires)):
        if names:
            echo_line(f"    {label} {', '.join(names)}")
    if component.error:
        echo_line(f"    error: {component.error}")
    rows = [
        (option.name, option.type, json.dumps(option.default, default=str), option.help) for option in component.options
    ]
    if rows:
        lines = table(("option", "type", "default", "meaning"), rows)
        echo_lines("\n".join(f"    {line}" for line in lines.splitlines()))
