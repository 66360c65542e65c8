"""Text for a terminal or a log, made safe: text from a file, a name or a plugin must not control the terminal.

An escape sequence in a piece's id could move the cursor and overwrite a total, a line break could forge a second
message, and a bidirectional override could display one path as another. ``logger`` is loaded on first use, because
``midigpt --help`` logs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names
from midigpt_core.printable import printable

if TYPE_CHECKING:
    from midigpt_core.logs import logger

__all__ = ["logger", "printable"]


__getattr__ = lazy_names(__name__, {"logger": "midigpt_core.logs"})
