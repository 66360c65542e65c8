"""Arrays in memory that is used again: for those as large as a batch, which come and go with it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core._native import Memory

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

#: Smaller arrays are no cheaper from here.
_LEAST_BYTES = 16 << 10


def empty(shape: int | tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """``numpy.empty``. A large array is given back when nothing refers to it any more, and its memory, still mapped,
    becomes the next one's: the first touches of fresh pages cost as much as what is computed into them.
    """
    shape = (shape,) if isinstance(shape, int) else shape
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    if size < _LEAST_BYTES:
        return np.empty(shape, kind)
    array: NDArray[Any] = np.frombuffer(memoryview(Memory(size)), kind).reshape(shape)
    return array


def concatenate(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """``numpy.concatenate`` of one-dimensional arrays, into :func:`empty`."""
    joined = empty(sum(map(len, arrays)), np.result_type(*arrays))
    return np.concatenate(arrays, out=joined)
