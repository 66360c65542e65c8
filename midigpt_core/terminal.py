"""Text on its way to a terminal or a log: what came from a file, a name or a plugin must not steer it.

An escape sequence in a piece's id could move the cursor and overwrite a total, a line break forge a second message, a
bidirectional override show a path as another. ``logger`` is loaded when it is first asked for: ``midigpt --help`` logs
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names
from midigpt_core.printable import printable

if TYPE_CHECKING:
    from midigpt_core.logs import logger

__all__ = ["logger", "printable"]


__getattr__ = lazy_names(__name__, {"logger": "midigpt_core.logs"})
