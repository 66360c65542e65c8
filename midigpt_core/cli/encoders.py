"""``midigpt encoders``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.echo import echo_json, echo_lines
from midigpt_core.cli.options import common_options
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import table
from midigpt_core.contracts import Encoder, EncoderContext
from midigpt_core.plugins.building import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.plugins.registry import Provided


@common_options
@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def encoders(ctx: click.Context, as_json: bool) -> None:
    """List encoder components and their presets, with vocabulary sizes and capabilities."""
    found = [row for item in registry(ctx).provided("encoder") for row in _rows(item)]
    if as_json:
        echo_json(found)
        return
    rows = [
        (row["encoder"], row["preset"] or "-", row["plugin"], row["vocab_size"], ", ".join(row["provides"]))
        for row in found
    ]
    echo_lines(table(("encoder", "preset", "plugin", "tokens", "provides"), rows))


def _rows(item: Provided) -> Iterator[dict[str, Any]]:
    presets: tuple[str, ...] = getattr(item.spec, "presets", ())
    for preset in presets or (None,):
        encoder: Encoder = build(item.ref({"config": preset} if preset else None), EncoderContext())
        yield {
            "encoder": item.spec.name,
            "preset": preset,
            "plugin": item.plugin.name,
            "vocab_size": encoder.vocab_size,
            "window_sizes": list(encoder.window_sizes),
            "provides": sorted(encoder.provides),
        }
