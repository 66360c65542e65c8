"""The lazy door of the command line: what takes time to import is imported when a command needs it."""

from __future__ import annotations

import importlib
from typing import Any


def later(target: str) -> Any:
    """What ``"package.module:name"`` names, imported now."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)
