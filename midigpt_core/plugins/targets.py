"""Import strings, which a plugin's record contains instead of the objects themselves."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def import_target(target: str, import_paths: Sequence[str] = ()) -> Any:
    """Import the object that an import string ``"package.module:name"`` names."""
    for path in import_paths:
        if path not in sys.path:
            sys.path.append(path)
    module_name, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module_name), attribute)
