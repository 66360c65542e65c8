"""What makes two pieces the same music: equal bars, tracks and notes, whatever the file's name or encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from midigpt_core.score.columns import COLUMNS, OFFSETS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midigpt_core.records import ScoreColumns, UInt8Array
    from midigpt_core.score.columns import Level

CONTENT_HASH_BYTES = 16

_LEVELS: tuple[Level, ...] = ("track", "bar", "cell", "note")
# What the source says about a track is not its music.
_MUSIC = [(name, spec.level) for name, spec in COLUMNS.items() if spec.level in _LEVELS and name != "track_nomml"]


def content_hashes(columns: ScoreColumns) -> UInt8Array:
    """uint8[P, 16], the XXH3 (128 bits) of each piece's columns and their lengths.

    It is as fast as reading memory and distinguishes music that was not made to collide; it does not resist an
    attacker. Only the report on leakage and the identity of a corpus depend on it. Parquet files are identified by
    their BLAKE3.
    """
    lengths = np.stack([np.diff(getattr(columns, OFFSETS[level])) for level in _LEVELS], axis=1)
    # The lengths fix where each column ends, so that moving a value to the next column changes the hash.
    parts = [_pieces_of(lengths.astype("<i8"), np.arange(columns.num_pieces + 1))]
    parts += [_pieces_of(getattr(columns, name), getattr(columns, OFFSETS[level])) for name, level in _MUSIC]
    hashes = bytearray()
    for piece in range(columns.num_pieces):
        music = xxhash.xxh3_128()
        for content, ends in parts:
            music.update(content[ends[piece] : ends[piece + 1]])
        hashes += music.digest()
    return np.frombuffer(hashes, np.uint8).reshape(-1, CONTENT_HASH_BYTES)


def _pieces_of(values: NDArray[Any], offsets: NDArray[np.int64]) -> tuple[memoryview, list[int]]:
    """The values as bytes, and where the bytes of each piece end in them."""
    width = values.itemsize * (values.shape[1] if values.ndim > 1 else 1)
    return memoryview(np.ascontiguousarray(values).view(np.uint8).ravel().data), (offsets * width).tolist()
