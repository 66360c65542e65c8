"""Checks for mask strategies, over random shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.contracts import MaskContext
from midigpt_core.keys import Stage, below, derive, uniforms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.contracts import MaskStrategy
    from midigpt_core.records import BoolArray, UInt64Array
    from midigpt_core.testing.general import Subject

_BATCHES = 30


def check_masks_only_valid_bars_outside_the_infill(subject: Subject) -> None:
    for valid, infill, keys in _batches():
        masked = _build(subject).mask(valid, infill, keys)
        assert masked.dtype == np.bool_, f"mask returned {masked.dtype}, not bool"
        assert masked.shape == valid.shape, f"mask returned shape {masked.shape} for {valid.shape}"
        assert not (masked & ~valid).any(), "a bar that is not valid was masked"
        assert not (masked & infill).any(), "a bar to fill in was masked"


def check_equal_keys_mask_equal_bars(subject: Subject) -> None:
    """The result does not depend on the order of the batch, on other windows, or on earlier calls."""
    mask = _build(subject)
    for valid, infill, keys in _batches():
        masked = mask.mask(valid, infill, keys)
        assert np.array_equal(masked, mask.mask(valid, infill, keys)), "a second call masked other bars"
        backwards = mask.mask(valid[::-1], infill[::-1], keys[::-1])
        assert np.array_equal(masked, backwards[::-1]), "the order of the batch matters"
        alone = [mask.mask(valid[i : i + 1], infill[i : i + 1], keys[i : i + 1]) for i in range(len(keys))]
        assert np.array_equal(masked, np.concatenate(alone)), "the other windows of the batch matter"


def check_leaves_its_arguments_alone(subject: Subject) -> None:
    for valid, infill, keys in _batches():
        before = valid.copy(), infill.copy(), keys.copy()
        _build(subject).mask(valid, infill, keys)
        assert all(map(np.array_equal, before, (valid, infill, keys))), "mask changed its arguments"


def check_takes_an_empty_batch(subject: Subject) -> None:
    nothing = np.zeros((0, 2, 4), bool)
    assert _build(subject).mask(nothing, nothing, np.zeros(0, np.uint64)).shape == nothing.shape


def _build(subject: Subject) -> MaskStrategy:
    mask: MaskStrategy = subject.build(MaskContext(window_sizes=(4, 8)))
    return mask


def _batches() -> Iterator[tuple[BoolArray, BoolArray, UInt64Array]]:
    """Valid and infill cells bool[N, T, B] with keys; N, T and B are at least 1, and windows have at most B bars."""
    for number in range(_BATCHES):
        key = derive(number, Stage.MASK)
        count, tracks, bars = (1 + below(uniforms(key, 3)[0], np.array([6, 5, 10]))).tolist()
        cells = uniforms(derive(number, Stage.INFILL), count * tracks * bars).reshape(count, tracks, bars)
        sizes = 1 + below(uniforms(derive(number, Stage.WINDOW), count)[0], bars)
        valid = (cells < 0.8) & (np.arange(bars) < sizes[:, None, None])
        infill = valid & (cells < 0.2)
        yield valid, infill, derive(number, Stage.MASK, np.arange(count))
