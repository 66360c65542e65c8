"""Randomness as a pure function of keys: Philox4x32-10 counters (csrc/sample/philox.h), many at a time.

No generator is kept anywhere. A stage derives a key from (seed, block, draw, stage) and reads uniform numbers at
counters 0, 1, …; the same key gives the same numbers in any process, thread or order.

Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the constants
and the known-answer vectors in the tests are those of its Random123 library.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from midigpt_core import _native

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from midigpt_core.records import Float64Array, UInt64Array


class Stage(IntEnum):
    """Which decision a draw belongs to. Values are part of a run's identity: never renumber."""

    PIECE = 1
    WINDOW = 2
    AUGMENT = 3
    INFILL = 4
    MASK_GATE = 5
    MASK = 6
    OPTIONS = 7
    MIX = 8
    PACK = 9
    INIT = 10
    DRAW = 11
    ATTRIBUTES = 12
    SET = 13
    PROMPT = 14
    WHOLE_TRACK = 15
    MUSIC = 16
    RESAMPLE = 17
    REMIX = 18
    ADAPTER = 19
    DROPOUT = 20
    TRACKS = 21
    STRETCH = 22
    ROTATE = 23


def philox(counter: UInt64Array, key: UInt64Array) -> UInt64Array:
    """Philox4x32-10 of counters uint64[n, 2] under keys uint64[n]: uint64[n, 2].

    A 64-bit word holds two of the cipher's 32-bit words, the first in its low half.
    """
    words = np.empty((len(key), 2), dtype=np.uint64)
    _native.philox(np.ascontiguousarray(counter).reshape(-1), np.ascontiguousarray(key), words.reshape(-1))
    return words


def derive(key: UInt64Array | int, stage: Stage, index: NDArray[np.integer] | int = 0) -> UInt64Array:
    """Independent keys uint64[n] for ``stage`` and ``index`` (each scalar or [n]) under ``key``."""
    keys, indices = np.broadcast_arrays(
        np.asarray(key, dtype=np.uint64), np.asarray(index).astype(np.uint64, casting="unsafe")
    )
    # The top bit of the second counter word keeps derived keys apart from the numbers drawn by `bits`.
    second = np.full(keys.size, (1 << 63) | int(stage), dtype=np.uint64)
    return np.ascontiguousarray(philox(np.stack([indices.ravel(), second], axis=1), keys.ravel())[:, 0])


def bits(keys: UInt64Array, count: int) -> UInt64Array:
    """``count`` uniform 64-bit words per key: uint64[n, count]."""
    pairs = (count + 1) // 2
    counter = np.zeros((len(keys) * pairs, 2), dtype=np.uint64)
    counter[:, 0] = np.tile(np.arange(pairs, dtype=np.uint64), len(keys))
    return philox(counter, np.repeat(keys, pairs)).reshape(len(keys), pairs * 2)[:, :count]


def uniforms(keys: UInt64Array, count: int) -> Float64Array:
    """``count`` numbers per key, uniform in [0, 1) with 53 bits: float64[n, count]."""
    return (bits(keys, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(uniform: Float64Array, limit: NDArray[np.integer] | int) -> NDArray[np.int64]:
    """Integers uniform in 0 .. limit-1 from numbers uniform in [0, 1); below 2**31 their bias is under 2**-22."""
    # A product just below the limit can round up to it.
    scaled = np.floor(uniform * limit).astype(np.int64)
    return np.minimum(scaled, np.maximum(np.asarray(limit, dtype=np.int64) - 1, 0))
