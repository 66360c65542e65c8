"""The plugins that the flags and environment of an invocation select."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.cli.options import plugin_flags
from midigpt_core.corpus.detection import detect_source
from midigpt_core.errors import PluginError
from midigpt_core.paths import usable_path
from midigpt_core.plugins.discovery import discover
from midigpt_core.plugins.registry import Registry, load_registry, use_registry
from midigpt_core.plugins.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

    from midigpt_core.plugins.discovery import PluginEntry


def selection(ctx: click.Context) -> Selection:
    flags = plugin_flags(ctx)
    return Selection(
        plugins=tuple(flags.plugins),
        disabled=tuple(flags.disabled),
        third_parties=flags.third_parties,
        plugin_dirs=tuple(flags.plugin_dirs),
    ).with_environment()


def registry(ctx: click.Context) -> Registry:
    """Load the registry of the selected plugins and make it the registry of this process."""
    loaded = load_registry(selection(ctx))
    _require_one_in_each_folder(ctx, loaded.entries)
    use_registry(loaded)
    return loaded


def source_of_data(plugins: Registry, source: str | None, paths: Sequence[str]) -> str:
    """The data source that ``--source`` or ``--plugin`` names, or else the one that reads ``paths``.

    Raises :class:`PluginError` for a name that no plugin provides.
    """
    chosen = source or plugins.source_of_selection() or detect_source(plugins, paths)
    plugins.find("source", chosen)
    return chosen


def plugin_entries(ctx: click.Context) -> tuple[PluginEntry, ...]:
    """Every plugin, selected or not, without importing any."""
    found = discover(selection(ctx))
    _require_one_in_each_folder(ctx, found)
    return found


def _require_one_in_each_folder(ctx: click.Context, entries: Sequence[PluginEntry]) -> None:
    """Reject a ``--plugins-dir`` without a plugin, likely a mistake. A folder from the environment may be empty."""
    folders = {entry.folder for entry in entries}
    for folder in plugin_flags(ctx).plugin_dirs:
        if str(usable_path(folder).resolve()) not in folders:
            raise PluginError(
                f"--plugins-dir {folder}: contains no plugin. Name a folder with NAME.py or NAME/plugin.py "
                "that defines MIDIGPT_API."
            )
