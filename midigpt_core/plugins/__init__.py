"""Plugins: finding, choosing, loading and building what they provide.

``selection`` says which plugins are wanted, ``discovery`` finds them from metadata alone, ``loader`` imports them one
by one and sets broken ones aside, ``registry`` resolves component names, ``building`` turns a resolved name into a
component, ``describe`` reports on a plugin for ``midigpt plugins show``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

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
    "PluginEntry": ".discovery",
    "Provided": ".registry",
    "Registry": ".registry",
    "Selection": ".selection",
    "build": ".building",
    "current_registry": ".registry",
    "discover": ".discovery",
    "load_registry": ".registry",
    "structure_options": ".building",
    "use_registry": ".registry",
}


__getattr__ = lazy_names(__name__, _HOMES)
