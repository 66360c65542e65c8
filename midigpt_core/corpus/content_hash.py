"""What makes two pieces the same music: equal bars, tracks and notes, whatever the file's name or encoding."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.corpus.format import CONTENT_HASH_BYTES, LEVELS, level_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midigpt_core.records import ScoreColumns, UInt8Array

# What the source says about a track is not its music.
_NOT_MUSIC = {"track_nomml"}


def content_hashes(columns: ScoreColumns) -> UInt8Array:
    """uint8[P, 16], the first half of the sha256 of each piece's columns and their lengths.

    sha256 because processors have instructions for it: three times the speed of BLAKE2 where they do.
    """
    lengths = np.stack([np.diff(getattr(columns, f"{level}_offsets")) for level in LEVELS], axis=1)
    # The lengths keep values from sliding from one column into the next.
    parts = [_pieces_of(lengths.astype("<i8"), np.arange(columns.num_pieces + 1))]
    for level in LEVELS:
        offsets = getattr(columns, f"{level}_offsets")
        parts += [
            _pieces_of(getattr(columns, name), offsets) for name in level_columns(level) if name not in _NOT_MUSIC
        ]
    hashes = bytearray()
    for piece in range(columns.num_pieces):
        music = b"".join([content[ends[piece] : ends[piece + 1]] for content, ends in parts])
        hashes += hashlib.sha256(music).digest()[:CONTENT_HASH_BYTES]
    return np.frombuffer(hashes, np.uint8).reshape(-1, CONTENT_HASH_BYTES)


def _pieces_of(values: NDArray[Any], offsets: NDArray[np.int64]) -> tuple[memoryview, list[int]]:
    """The values as bytes, and where the bytes of each piece end in them."""
    width = values.itemsize * (values.shape[1] if values.ndim > 1 else 1)
    return memoryview(np.ascontiguousarray(values).view(np.uint8).ravel().data), (offsets * width).tolist()
