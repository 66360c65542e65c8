"""Masks bars after a point in time: mode STRUCTURED of docs/encoder-specification.md, G.4."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen, validators

from midigpt_core.keys import below, uniforms

if TYPE_CHECKING:
    from midigpt_core.contracts import MaskContext
    from midigpt_core.records import BoolArray, UInt64Array

#: Probability that a track keeps all its bars.
LEAVE_OUT = 0.25


@frozen(kw_only=True)
class StructuredOptions:
    #: Most bars that are masked after the point in time.
    max_lookahead: int = field(default=4, validator=validators.ge(1))


@frozen
class StructuredBars:
    """Hides bars t+1 .. min(t+k, n-1), t uniform in 0 .. n-2 and k in 1 .. max_lookahead, of the tracks not left out.

    A window of n < 2 bars masks nothing.
    """

    max_lookahead: int

    def mask(self, valid: BoolArray, infill: BoolArray, keys: UInt64Array) -> BoolArray:
        """See :meth:`midigpt_core.contracts.MaskStrategy.mask`."""
        _, num_tracks, num_bars = valid.shape
        bar = np.arange(num_bars)
        window_bars = np.where(valid.any(axis=1), bar + 1, 0).max(axis=1, initial=0)
        draws = uniforms(keys, 2 + num_tracks)
        last_known = below(draws[:, 0], window_bars - 1)
        lookahead = 1 + below(draws[:, 1], self.max_lookahead)
        takes_part = draws[:, 2:] >= LEAVE_OUT

        after = (bar > last_known[:, None]) & (bar <= (last_known + lookahead)[:, None])
        after &= (window_bars >= 2)[:, None]
        return after[:, None, :] & takes_part[:, :, None] & valid & ~infill


def build(options: StructuredOptions, _context: MaskContext) -> StructuredBars:
    return StructuredBars(options.max_lookahead)
