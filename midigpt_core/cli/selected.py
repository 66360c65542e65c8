"""The plugins that an invocation's flags and environment select."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.cli.options import plugin_flags
from midigpt_core.plugins.registry import Registry, load_registry, use_registry
from midigpt_core.plugins.selection import Selection

if TYPE_CHECKING:
    import click


def selection(ctx: click.Context) -> Selection:
    flags = plugin_flags(ctx)
    return Selection(
        plugins=tuple(flags.plugins),
        disabled=tuple(flags.disabled),
        third_parties=flags.third_parties,
        plugin_dirs=tuple(flags.plugin_dirs),
    ).with_environment()


def registry(ctx: click.Context) -> Registry:
    """The registry of the selected plugins, from now on the one of this process."""
    loaded = load_registry(selection(ctx))
    use_registry(loaded)
    return loaded
