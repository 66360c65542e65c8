"""Masks by ``random`` or ``structured``, with equal probability: mode MIXED of docs/encoder-specification.md, G.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen, validators

from midigpt_core.keys import Stage, derive, uniforms
from midigpt_masking.random_bars import RandomBars
from midigpt_masking.structured import StructuredBars

if TYPE_CHECKING:
    from midigpt_core.contracts import MaskContext
    from midigpt_core.records import BoolArray, UInt64Array


@frozen(kw_only=True)
class MixedOptions:
    #: Largest share of the bars outside the infill that ``random`` masks.
    bar_fraction: float = field(default=0.25, validator=[validators.gt(0.0), validators.le(1.0)])
    #: Most bars that ``structured`` masks after the point in time.
    max_lookahead: int = field(default=4, validator=validators.ge(1))


@frozen
class MixedBars:
    """Masks each window by one of the two strategies, with probability one half each."""

    random: RandomBars
    structured: StructuredBars

    def mask(self, valid: BoolArray, infill: BoolArray, keys: UInt64Array) -> BoolArray:
        """See :meth:`midigpt_core.contracts.MaskStrategy.mask`."""
        masked = np.zeros(valid.shape, dtype=np.bool_)
        by_random = uniforms(derive(keys, Stage.MIX), 1)[:, 0] < 0.5
        for strategy, chosen in ((self.random, by_random), (self.structured, ~by_random)):
            masked[chosen] = strategy.mask(valid[chosen], infill[chosen], keys[chosen])
        return masked


def build(options: MixedOptions, _context: MaskContext) -> MixedBars:
    return MixedBars(RandomBars(options.bar_fraction), StructuredBars(options.max_lookahead))
