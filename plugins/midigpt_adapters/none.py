"""No adapter."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midigpt_core.contracts import AdapterContext


def build(options: None, context: AdapterContext) -> None:
    """None: the model stays as it is."""
