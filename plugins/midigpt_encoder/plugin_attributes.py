"""Attribute controls of plugins in encoder configurations: read, found and stored."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from attrs import evolve

from midigpt_core import terminal
from midigpt_core.contracts import PluginAttribute
from midigpt_core.errors import PluginError
from midigpt_core.plugins.attributes import find_attribute
from midigpt_core.printable import printable

if TYPE_CHECKING:
    from midigpt_encoder.reading import Reader

_log = terminal.logger(__name__)

_STORED = ("name", "distribution", "level", "levels", "track_type")
#: What names and distributions may have of characters in a file.
_MOST_CHARACTERS = 120


def read_attribute(reader: Reader, value: Any, path: str) -> PluginAttribute:
    """An entry of ``attributes``: a name, or what :func:`stored` made of one.

    A name must be that of an attribute of an active plugin. A stored entry may be without its plugin: it keeps its
    tokens. Raises :class:`midigpt_core.errors.MidigptError` that names the entry.
    """
    if not isinstance(value, Mapping):
        try:
            return find_attribute(reader.string(value, path))
        except PluginError as error:
            raise reader.error(path, str(error)) from error
    entry = reader.mapping(value, path, _STORED)
    for key in _STORED:
        if key not in entry:
            raise reader.error(path, f"has no {key!r}. Write the name of an attribute control, or all of its fields.")
    texts = {key: reader.string(entry[key], f"{path}.{key}") for key in ("name", "distribution")}
    if too_long := next((key for key, text in texts.items() if len(text) > _MOST_CHARACTERS), None):
        raise reader.error(f"{path}.{too_long}", f"has more than {_MOST_CHARACTERS} characters.")
    level = reader.name(entry["level"], f"{path}.level", "level", ("track", "bar"))
    kind = reader.name(entry["track_type"], f"{path}.track_type", "track type", ("melodic", "drum", "both"))
    levels = reader.integer(entry["levels"], f"{path}.levels")
    recorded = PluginAttribute(
        name=texts["name"],
        distribution=texts["distribution"],
        level="bar" if level == "bar" else "track",
        levels=levels,
        track_type="melodic" if kind == "melodic" else "drum" if kind == "drum" else "both",
    )
    return _installed(recorded)


def _installed(recorded: PluginAttribute) -> PluginAttribute:
    """``recorded`` as the plugins of this process have it, or as it is where they do not."""
    name, distribution = printable(recorded.name), printable(recorded.distribution)
    try:
        found = find_attribute(recorded.name)
    except PluginError:
        _warn(
            f"the model was trained with attribute control {name} of {distribution}, which is not installed or not "
            "active: it cannot be asked for. Install it if you trust it."
        )
        return recorded
    if any(getattr(found, field) != getattr(recorded, field) for field in ("level", "levels", "track_type")):
        _warn(
            f"attribute control {name} of {found.distribution} {found.version} is not as the model was trained with "
            "it: it cannot be asked for. Install the version of the plugin from then."
        )
        return recorded
    return evolve(found, distribution=recorded.distribution)


@cache
def _warn(message: str) -> None:
    """Say it once: a command builds the encoder of a bundle several times."""
    _log.warning("%s", message)


def stored(attribute: PluginAttribute) -> dict[str, Any]:
    """What bundles store of an attribute: enough to know its tokens, and what to install."""
    return {name: getattr(attribute, name) for name in _STORED}
