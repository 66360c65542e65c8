"""``midigpt inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from midigpt_core.checkpoint import report
from midigpt_core.checkpoint.plain import mapping_or_empty
from midigpt_core.cli.echo import echo_json, echo_line, echo_lines
from midigpt_core.cli.options import PATH, common_options
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import table
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_COMPONENT_PARTS = ("name", "plugin", "distribution", "version", "options_sha256")


@common_options
@click.command()
@click.argument("bundle", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON with the whole encoder configuration.")
@click.pass_context
def inspect(ctx: click.Context, bundle: str, as_json: bool) -> None:
    """Show what a bundle is and who made it. Reads the header only, no tensor."""
    registry(ctx)
    found = report.inspect(bundle)
    if as_json:
        echo_json(found.to_dict())
        return
    rows = [(printable(name), printable(value)) for name, value in _facts(found)]
    echo_lines(table(("bundle", printable(found.path)), rows))
    components = mapping_or_empty(found.provenance.get("components"))
    if components:
        made_with = [(printable(kind), *_component(made_of)) for kind, made_of in components.items()]
        echo_line()
        echo_lines(table(("component", "name", "plugin", "distribution", "version", "options"), made_with))


def _facts(found: report.BundleReport) -> Iterator[tuple[str, Any]]:
    yield "format", f"{found.format}, {found.bytes:,} bytes"
    yield "architecture", f"{found.architecture} ({_listed(found.architecture_config)})"
    yield "parameters", "unknown" if found.parameters is None else f"{found.parameters:,}"
    yield "encoder", f"{found.encoder}, {len(found.encoder_config)} fields, sha256 {found.encoder_sha256[:12]}"
    yield "infill positions", found.infill_positions
    yield "vocabulary", f"{found.vocab_size} tokens"
    if not found.provenance:
        yield "provenance", "none: the file does not say who made it"
    for name, value in found.provenance.items():
        if name != "components":
            yield name, _listed(value) if isinstance(value, dict) else "unknown" if value == "" else value


def _component(made_of: object) -> list[str]:
    parts = mapping_or_empty(made_of)
    return [printable(parts.get(part, "-"), 12 if part == "options_sha256" else 40) for part in _COMPONENT_PARTS]


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
