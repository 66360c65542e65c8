"""Checks that a logger's library, an optional dependency, is installed and can use the folder's name."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from midigpt_core.errors import PluginError, readable_name

if TYPE_CHECKING:
    from pathlib import Path


def require(package: str, logger: str) -> None:
    """Raise :class:`PluginError`, naming the extra to install, if ``package`` is not installed."""
    if find_spec(package) is None:
        raise PluginError(
            f"logger {logger!r} needs the package {package!r}, which is not installed."
            f" Install it with: pip install 'midigpt-core[{logger}]'"
        )


def require_utf8(run_dir: Path, logger: str) -> None:
    """Raise :class:`PluginError` if the name of the run's folder is not UTF-8: the libraries write it into files."""
    try:
        str(run_dir).encode()
    except UnicodeEncodeError as error:
        raise PluginError(
            f"{readable_name(run_dir)}: logger {logger!r} needs a folder whose name is UTF-8. Choose another "
            "output_dir, or another logger."
        ) from error
