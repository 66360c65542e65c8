"""Arrays whose memory is reused, for arrays as large as a batch that are made for every batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core._native import Memory

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

#: Smaller arrays gain nothing from reuse.
_LEAST_BYTES = 16 << 10


def empty(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Like ``numpy.empty``. When nothing refers to a large array any more, its memory stays mapped and is used for the
    next one: touching fresh pages for the first time costs as much as the computation that fills them.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < _LEAST_BYTES:
        return np.empty(shape, kind)
    array: NDArray[Any] = np.frombuffer(memoryview(Memory(size)), kind).reshape(shape)
    return array


def concatenate(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """Like ``numpy.concatenate`` for one-dimensional arrays, but into memory from :func:`empty`."""
    joined = empty(sum(map(len, arrays)), np.result_type(*arrays))
    return np.concatenate(arrays, out=joined)
