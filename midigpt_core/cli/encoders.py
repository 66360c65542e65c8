"""``midigpt encoders`` and ``midigpt encoders show``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.echo import echo_json, echo_lines
from midigpt_core.cli.groups import LazyGroup
from midigpt_core.cli.options import NAME, common_options
from midigpt_core.cli.selected import registry
from midigpt_core.cli.tables import table
from midigpt_core.contracts import Encoder, EncoderContext
from midigpt_core.errors import ConfigError, unknown_name
from midigpt_core.plugins.building import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.plugins.registry import Provided


@common_options
@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    lazy_commands={"show": ("midigpt_core.cli.encoders:show", "Show the configuration of a preset.")},
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def encoders(ctx: click.Context, as_json: bool) -> None:
    """List encoder components and their presets, with vocabulary sizes and capabilities."""
    if ctx.invoked_subcommand is not None:
        return
    found = [row for item in registry(ctx).provided("encoder") for row in _rows(item)]
    if as_json:
        echo_json(found)
        return
    rows = [
        (row["encoder"], row["preset"] or "-", row["plugin"], row["vocab_size"], ", ".join(row["provides"]))
        for row in found
    ]
    echo_lines(table(("encoder", "preset", "plugin", "tokens", "provides"), rows))


@common_options
@click.command()
@click.argument("preset", type=NAME)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, the content of a file for --encoder-config.")
@click.pass_context
def show(ctx: click.Context, preset: str, as_json: bool) -> None:
    """Show the configuration of an encoder preset. With --json: the content of a FILE for --encoder-config."""
    by_preset = {name: item for item in registry(ctx).provided("encoder") for name in presets_of(item)}
    if preset not in by_preset:
        raise ConfigError(unknown_name("encoder preset", preset, by_preset))
    encoder: Encoder = build(by_preset[preset].ref({"config": preset}), EncoderContext())
    content = dict(encoder.to_config())
    if as_json:
        echo_json(content)
        return
    echo_lines(table(("key", "value"), [(key, json.dumps(value)) for key, value in content.items()]))


def presets_of(item: Provided) -> tuple[str, ...]:
    presets: tuple[str, ...] = getattr(item.spec, "presets", ())
    return presets


def _rows(item: Provided) -> Iterator[dict[str, Any]]:
    for preset in presets_of(item) or (None,):
        encoder: Encoder = build(item.ref({"config": preset} if preset else None), EncoderContext())
        yield {
            "encoder": item.spec.name,
            "preset": preset,
            "plugin": item.plugin.name,
            "vocab_size": encoder.vocab_size,
            "window_sizes": list(encoder.window_sizes),
            "provides": sorted(encoder.provides),
        }
