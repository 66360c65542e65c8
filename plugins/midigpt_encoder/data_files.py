"""The JSON files that come with the plugin: presets and the table of note densities."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from midigpt_core.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.resources.abc import Traversable

_DRUM_ROW = 128


def _folder() -> Traversable:
    return files("midigpt_encoder") / "presets"


def preset_names() -> tuple[str, ...]:
    """Names of the presets, ascending."""
    return tuple(sorted(file.name.removesuffix(".json") for file in _folder().iterdir() if file.name.endswith(".json")))


def load_preset(name: str) -> dict[str, Any]:
    """The configuration of a preset. Raises ConfigError if there is no such preset."""
    if name not in preset_names():
        raise ConfigError(unknown_name("encoder preset", name, preset_names()))
    content: dict[str, Any] = json.loads((_folder() / f"{name}.json").read_text(encoding="utf-8"))
    return content


@cache
def density_edges() -> tuple[tuple[int, ...], ...]:
    """Ten ascending note counts for each program 0..127 and, last, for drums: the bins of ``note_density_quantile``."""
    text = (files("midigpt_encoder") / "density_quantiles.json").read_text(encoding="utf-8")
    rows: Mapping[str, list[int]] = json.loads(text)
    return tuple(tuple(rows.get(str(row), rows["0"])) for row in range(_DRUM_ROW + 1))
