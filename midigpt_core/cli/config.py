"""``midigpt config show``, ``presets`` and ``convert``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midigpt_core.cli.echo import echo_json, echo_lines, remark_line
from midigpt_core.cli.groups import LazyGroup
from midigpt_core.cli.options import PATH, common_options
from midigpt_core.cli.tables import table
from midigpt_core.config.convert import convert
from midigpt_core.config.overrides import apply_overrides
from midigpt_core.config.packaged import preset_names, preset_summary
from midigpt_core.config.reading import read_mapping
from midigpt_core.config.train import TrainConfig, setting_help, setting_names
from midigpt_core.errors import ConfigError
from midigpt_core.files import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping


@common_options
@click.group(
    cls=LazyGroup,
    lazy_commands={
        "show": ("midigpt_core.cli.config:show", "Show all settings and where each value came from."),
        "presets": ("midigpt_core.cli.config:presets", "List the configurations that come with the package."),
        "convert": ("midigpt_core.cli.config:convert_file", "Rewrite a midigpt 0.4.2 configuration."),
    },
)
def config() -> None:
    """Show, list or convert configurations."""


@common_options
@click.command("show")
@click.argument("file", type=PATH, required=False)
@click.option("--config", "config_file", type=PATH, metavar="FILE", help="The same as FILE.")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Set one value.")
@click.option("--json", "as_json", is_flag=True, help="Print every value as JSON.")
@click.option("--help-keys", is_flag=True, help="Print what each key means instead of where it came from.")
def show(
    file: str | None, config_file: str | None, assignments: tuple[str, ...], as_json: bool, help_keys: bool
) -> None:
    """Show all settings after defaults, FILE (.json, .yaml, .toml or a preset) and --set, and where each came from."""
    path = file or config_file
    settings = TrainConfig.from_file(path) if path else TrainConfig()
    apply_overrides(settings, assignments)
    settings.validate()
    if as_json:
        echo_json(settings.to_dict())
        return
    origins = settings.origins
    last = "meaning" if help_keys else "from"
    rows = [
        (name, _spell(getattr(settings, name)), setting_help(name) if help_keys else _whence(name, origins))
        for name in setting_names()
    ]
    echo_lines(table(("key", "value", last), rows))


@common_options
@click.command("presets")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with the settings of each.")
def presets(as_json: bool) -> None:
    """List the configurations that come with the package: --config takes their names, as in --config laptop."""
    if as_json:
        echo_json(
            [
                {
                    "name": name,
                    "summary": preset_summary(name),
                    "settings": TrainConfig.from_file(name).set_values(),
                }
                for name in preset_names()
            ]
        )
        return
    echo_lines(table(("preset", "what it is for"), [(name, preset_summary(name)) for name in preset_names()]))


@common_options
@click.command("convert")
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
def convert_file(old: str, new: str) -> None:
    """Rewrite OLD, a configuration of midigpt 0.4.2, as NEW (.json), and list the keys that have no counterpart."""
    if Path(new).suffix.lower() != ".json":
        raise ConfigError(f"{new}: a converted configuration is written as JSON. Name a .json file.")
    if Path(new).exists():
        raise ConfigError(f"{new}: exists already. Name a new file, or remove this one.")
    conversion = convert(read_mapping(old), frozenset(setting_names()))
    TrainConfig.from_mapping(conversion.values, old).validate()
    write_text(new, json.dumps(conversion.values, indent=2) + "\n")
    for name, current in conversion.renamed.items():
        remark_line(f"{name} is now {current}")
    for name, reason in conversion.left_out.items():
        remark_line(f"{name} was left out: {reason}")
    remark_line(f"Wrote {new}.")


def _whence(name: str, origins: Mapping[str, str]) -> str:
    """``train.json; max_lookahead: --set``"""
    options = {path.removeprefix(f"{name}."): origin for path, origin in origins.items() if path.startswith(f"{name}.")}
    return "; ".join([origins[name], *(f"{option}: {origin}" for option, origin in options.items())])


def _spell(value: Any) -> str:
    return json.dumps(value)
