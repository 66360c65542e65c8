"""Arrays in memory that is used again: never while somebody can see them."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import torch

from midigpt_core import memory


@pytest.mark.parametrize("shape", [0, 5, (3, 0), (64, 2048), 1_000_000])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64, np.bool_])
def test_an_array_is_one_of_numpys(shape: int | tuple[int, ...], dtype: type) -> None:
    array = memory.empty(shape, dtype)
    assert array.shape == np.empty(shape).shape
    assert array.dtype == dtype
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert array.ctypes.data % 16 == 0
    array[...] = 1
    assert (array == 1).all()


def test_memory_is_used_again_but_not_while_a_view_or_tensor_has_it() -> None:
    size = 5_000_011
    first = memory.empty(size, np.uint8)
    place = first.ctypes.data
    first[:] = 7
    view = torch.from_numpy(first[10:20])
    del first
    gc.collect()
    others = [memory.empty(size, np.uint8) for _ in range(3)]
    for other in others:
        other[:] = 1
    assert view.tolist() == [7] * 10
    assert place not in [other.ctypes.data for other in others]
    del view
    gc.collect()
    assert memory.empty(size, np.uint8).ctypes.data == place


def test_threads_have_arrays_of_their_own() -> None:
    mixed = []

    def work(mark: int) -> None:
        for _ in range(200):
            array = memory.empty(100_000, np.uint8)
            array[:] = mark
            mixed.append(bool((array != mark).any()))

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(mixed)


def test_concatenate_is_numpys() -> None:
    parts = [np.arange(40_000, dtype=np.int32), np.zeros(0, np.int32), np.arange(3, dtype=np.int64)]
    joined = memory.concatenate(parts)
    assert joined.dtype == np.int64
    np.testing.assert_array_equal(joined, np.concatenate(parts))
