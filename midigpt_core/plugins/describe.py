"""Describes what a plugin provides. Only that plugin is imported, and failures are reported instead of raised."""

from __future__ import annotations

import inspect
import re
import time
from itertools import chain
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from midigpt_core.config.json_schema import schema_of
from midigpt_core.config.wording import describe as describe_type
from midigpt_core.kinds import Kind
from midigpt_core.plugins.loader import Rejected, new_manager, register, rejecting
from midigpt_core.plugins.registry import collect
from midigpt_core.plugins.targets import import_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.components import ComponentSpec
    from midigpt_core.config.json_schema import Schema
    from midigpt_core.plugins.discovery import PluginEntry


@frozen
class OptionReport:
    name: str
    type: str
    default: Any
    help: str


@frozen
class ComponentReport:
    kind: Kind
    name: str
    summary: str
    target: str
    provides: tuple[str, ...]
    requires: tuple[str, ...]
    options: tuple[OptionReport, ...]
    #: JSON Schema of the options, an object.
    schema: Mapping[str, Any]
    #: Why the options could not be read, else empty.
    error: str


@frozen
class PluginReport:
    entry: PluginEntry
    components: tuple[ComponentReport, ...]
    #: Seconds that importing the plugin's module took.
    import_seconds: float
    #: Why the plugin cannot be used, else empty.
    error: str

    @property
    def status(self) -> str:
        """The entry's status, or ``broken`` for a plugin that is active by its metadata but cannot be used."""
        return "broken" if self.error and self.entry.is_active else self.entry.status


def describe(entry: PluginEntry) -> PluginReport:
    """Import one plugin and list its components, whatever its status, except for a conflict or another API version."""
    manager = new_manager()
    begin = time.perf_counter()
    try:
        register(manager, entry)
        seconds = time.perf_counter() - begin
        specs = [spec for kind in Kind for spec in collect(manager, entry, kind)]
    except Rejected as rejection:
        return PluginReport(entry, (), time.perf_counter() - begin, str(rejection))
    folders = (entry.folder,) if entry.folder else ()
    return PluginReport(entry, tuple(_component(spec, folders) for spec in specs), seconds, "")


def _component(spec: ComponentSpec, folders: tuple[str, ...]) -> ComponentReport:
    try:
        with rejecting(f"while {spec.options} was read"):
            options, schema = _options(spec, folders)
            error = ""
    except Rejected as rejection:
        options, schema, error = (), {}, str(rejection)
    return ComponentReport(
        kind=spec.kind,
        name=spec.name,
        summary=spec.summary,
        target=spec.target,
        provides=tuple(sorted(spec.provides)),
        requires=tuple(sorted(spec.requires)),
        options=options,
        schema=schema,
        error=error,
    )


def _options(spec: ComponentSpec, folders: tuple[str, ...]) -> tuple[tuple[OptionReport, ...], Schema]:
    if spec.options is None:
        return (), {"type": "object", "additionalProperties": False}
    options_class = import_target(spec.options, folders)
    attrs.resolve_types(options_class)
    defaults = options_class()
    comments = _field_comments(options_class)
    fields = [field for field in attrs.fields(options_class) if field.init]
    helps = {field.name: str(field.metadata.get("help", comments.get(field.name, ""))) for field in fields}
    reports = tuple(
        OptionReport(
            name=field.alias or field.name,
            type=describe_type(field.type),
            default=getattr(defaults, field.name),
            help=helps[field.name],
        )
        for field in fields
    )
    return reports, schema_of(options_class, helps)


def _field_comments(options_class: type) -> dict[str, str]:
    """The ``#:`` comments above the fields of an options class and of the classes that it extends, by field."""
    comments: dict[str, str] = {}
    lines: list[str] = []
    classes = [one for one in reversed(options_class.__mro__) if attrs.has(one)]
    for line in chain.from_iterable(inspect.getsource(one).splitlines() for one in classes):
        text = line.strip()
        field = re.match(r"(\w+)\s*:", text)
        if text.startswith("#:"):
            lines.append(text.removeprefix("#:").strip())
        else:
            if field and lines:
                comments[field[1]] = " ".join(lines)
            lines = []
    return comments
