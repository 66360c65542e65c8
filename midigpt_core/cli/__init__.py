"""The command line, one file per command. ``main`` is the entry point; ``groups`` imports a command when it is run."""

from __future__ import annotations

from midigpt_core.cli.main import main

__all__ = ["main"]
