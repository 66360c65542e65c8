"""No logger."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midigpt_core.contracts import LoggerContext


def build(options: None, context: LoggerContext) -> None:
    """No logger: the run has only its metrics file."""
