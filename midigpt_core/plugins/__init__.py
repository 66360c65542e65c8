"""Plugins: finding, choosing, loading and building what they provide.

``selection`` says which plugins are wanted, ``discovery`` finds them from metadata alone, ``loader`` imports them one
by one and sets broken ones aside, ``registry`` resolves component names, ``building`` turns a resolved name into a
component, ``describe`` reports on a plugin for ``midigpt plugins show``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midigpt_core.plugins.building import build, structure_options
    from midigpt_core.plugins.discovery import PluginEntry, discover
    from midigpt_core.plugins.registry import Provided, Registry, current_registry, load_registry, use_registry
    from midigpt_core.plugins.selection import Selection

__all__ = [
    "PluginEntry",
    "Provided",
    "Registry",
    "Selection",
    "build",
    "current_registry",
    "discover",
    "load_registry",
    "structure_options",
    "use_registry",
]

_HOMES = {
    "PluginEntry": "discovery",
    "Provided": "registry",
    "Registry": "registry",
    "Selection": "selection",
    "build": "building",
    "current_registry": "registry",
    "discover": "discovery",
    "load_registry": "registry",
    "structure_options": "building",
    "use_registry": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
