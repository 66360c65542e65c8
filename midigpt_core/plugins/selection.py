"""Which plugins a run uses, from flags and environment variables."""

from __future__ import annotations

import os

from attrs import evolve, frozen

from midigpt_core.errors import PluginError


@frozen
class Selection:
    """``--plugin``, ``--no-plugin``, ``--no-plugins`` and ``--plugins-dir``."""

    #: Plugins that must load, by plugin or distribution name.
    plugins: tuple[str, ...] = ()
    #: Plugins left out, by plugin or distribution name.
    disabled: tuple[str, ...] = ()
    #: Whether plugins of other distributions are used without being requested.
    third_parties: bool = True
    #: Folders whose modules may be plugins; never the current folder unless it is named.
    plugin_dirs: tuple[str, ...] = ()

    def with_environment(self) -> Selection:
        """This selection, plus what ``MIDIGPT_PLUGINS=a,b`` and ``MIDIGPT_PLUGINS_DIR`` (a search path) select.

        Raises :class:`PluginError` for an empty folder name.
        """
        names = [name.strip() for name in os.environ.get("MIDIGPT_PLUGINS", "").split(",")]
        folders = []
        if (search := os.environ.get("MIDIGPT_PLUGINS_DIR")) is not None:
            folders = search.split(os.pathsep)
            if "" in folders:
                raise PluginError(
                    f"MIDIGPT_PLUGINS_DIR={search}: holds an empty name. Name folders, with {os.pathsep!r} between "
                    "them, or unset it."
                )
        return evolve(
            self,
            plugins=_once([*self.plugins, *filter(None, names)]),
            plugin_dirs=_once([*self.plugin_dirs, *folders]),
        )


def _once(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
