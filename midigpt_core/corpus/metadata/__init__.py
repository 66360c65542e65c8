"""Metadata of pieces: columns of any Arrow type, in a file of each shard. pyarrow is imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_core.corpus.metadata.arrow import piece_metadata, read_columns

__all__ = ["piece_metadata", "read_columns"]

__getattr__ = lazy_names(__name__, {"piece_metadata": ".arrow", "read_columns": ".arrow"})
