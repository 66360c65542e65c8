"""Hides every ``period``-th bar."""

import attrs
import numpy as np


@attrs.frozen
class Options:
    #: Every how many bars one is masked.
    period: int = attrs.field(default=2, validator=attrs.validators.ge(1))


@attrs.frozen
class Mask:
    period: int

    def mask(self, valid, infill, keys):
        """bool[N, T, B]: what is masked, of N windows with T tracks of B bars.

        Never a bar that is not valid or that is to be filled in. Draw from ``midigpt_core.keys`` with the windows'
        ``keys`` uint64[N], so that the same window is always masked alike.
        """
        chosen = np.arange(valid.shape[2]) % self.period == 0
        return chosen & valid & ~infill


def build(options, context):
    return Mask(options.period)
