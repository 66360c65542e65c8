"""The command line, one file per command; ``main`` is the outermost frame, ``groups`` imports commands when invoked."""

from __future__ import annotations

from midigpt_core.cli.main import main

__all__ = ["main"]
