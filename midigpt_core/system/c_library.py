"""Functions of the C library of this process."""

from __future__ import annotations

import ctypes

from midigpt_core.system.capabilities import has

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def c_function(name: str) -> Any:
    """A function of the C library of this process; None if there is none."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None) if has("libc") else None
