"""A logger's library is an extra: say which when it is missing."""

from __future__ import annotations

from importlib.util import find_spec

from midigpt_core.errors import PluginError


def require(package: str, logger: str) -> None:
    """Raise :class:`PluginError` naming the extra to install if ``package`` is not there."""
    if find_spec(package) is None:
        raise PluginError(
            f"logger {logger!r} needs the package {package!r}, which is not installed."
            f" Install it with: pip install 'midigpt-core[{logger}]'"
        )
