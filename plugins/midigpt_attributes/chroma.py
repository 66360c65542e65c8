"""Entropy of pitch classes.

S.-L. Wu and Y.-H. Yang, "The Jazz Transformer on the front line", Proc. ISMIR 2020, section 5.1: the entropy in bits of
the histogram of the pitch classes of notes, 0 for one pitch class, log2(12) = 3.58 if all twelve occur equally often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.score.window_notes import levels

if TYPE_CHECKING:
    from midigpt_core.records import Float64Array, Int16Array
    from midigpt_core.score.window_notes import WindowNotes

#: Where the levels 1 to 7 begin, in bits: a scale of seven equal degrees has 2.81.
EDGES = (0.5, 1.0, 1.5, 2.0, 2.4, 2.7, 3.0)


def chroma_entropy(notes: WindowNotes) -> Int16Array:
    """The level of each track: int16[N, T], -1 for a track without notes."""
    return levels(entropy(notes), EDGES)


def entropy(notes: WindowNotes) -> Float64Array:
    """The entropy of the pitch classes of each track in bits: float64[N, T], NaN for a track without notes."""
    counts = notes.track_histogram(notes.pitch % 12, 12)
    total = counts.sum(axis=2)
    share = counts / np.maximum(total, 1)[:, :, None]
    bits = -(share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=2)
    return np.where(total > 0, bits, np.nan)
