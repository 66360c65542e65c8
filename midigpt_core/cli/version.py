"""``midigpt version``."""

from __future__ import annotations

import importlib.metadata
import platform

import click

from midigpt_core import API_VERSION, __version__
from midigpt_core.cli.echo import echo_line
from midigpt_core.cli.options import common_options

_DEPENDENCIES = ("torch", "lightning", "transformers", "pyarrow", "numpy")


@common_options
@click.command()
def version() -> None:
    """Show the versions of midigpt-core and its main dependencies."""
    echo_line(f"midigpt-core {__version__} (plugin API {API_VERSION}, Python {platform.python_version()})")
    for name in _DEPENDENCIES:
        echo_line(f"{name} {importlib.metadata.version(name)}")
