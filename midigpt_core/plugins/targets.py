"""Import strings: what a plugin's record names instead of holding."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def import_target(target: str, import_paths: Sequence[str] = ()) -> Any:
    """What an import string ``"package.module:name"`` names."""
    for path in import_paths:
        if path not in sys.path:
            sys.path.append(path)
    module_name, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module_name), attribute)
