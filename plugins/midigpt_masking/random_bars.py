"""Masks single bars: mode RANDOM of docs/encoder-specification.md, G.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen, validators

from midigpt_core.keys import Stage, below, derive, uniforms

if TYPE_CHECKING:
    from midigpt_core.contracts import MaskContext
    from midigpt_core.records import BoolArray, UInt64Array

_NEVER = np.uint64(2**64 - 1)


@frozen(kw_only=True)
class RandomOptions:
    #: Largest share of the bars outside the infill that is masked.
    bar_fraction: float = field(default=0.25, validator=[validators.gt(0.0), validators.le(1.0)])


@frozen
class RandomBars:
    """Masks ``count`` distinct bars, ``count`` uniform in 1 .. max(1, trunc(bar_fraction * eligible))."""

    bar_fraction: float

    def mask(self, valid: BoolArray, infill: BoolArray, keys: UInt64Array) -> BoolArray:
        """See :meth:`midigpt_core.contracts.MaskStrategy.mask`. Eligible are the valid bars outside the infill."""
        eligible = valid & ~infill
        windows, tracks, bars = np.nonzero(eligible)
        # One random word per bar, keyed by track and bar, not by its index in the array: padding changes nothing.
        place = tracks.astype(np.uint64) << np.uint64(32) | bars.astype(np.uint64)
        words: UInt64Array = np.full(eligible.shape, _NEVER)
        words[eligible] = derive(keys[windows], Stage.MASK, place) >> np.uint64(1)
        words = words.reshape(len(keys), eligible.shape[1] * eligible.shape[2])

        available = eligible.sum(axis=(1, 2))
        limit = np.maximum(1, np.trunc(self.bar_fraction * available).astype(np.int64))
        count = np.minimum(1 + below(uniforms(keys, 1)[:, 0], limit), available)

        # The bars with the `count` smallest words are a uniform choice without replacement.
        order = np.argsort(words, axis=1, kind="stable")
        masked = np.zeros(words.shape, dtype=np.bool_)
        np.put_along_axis(masked, order, np.arange(words.shape[1]) < count[:, None], axis=1)
        return masked.reshape(eligible.shape)


def build(options: RandomOptions, _context: MaskContext) -> RandomBars:
    return RandomBars(options.bar_fraction)
