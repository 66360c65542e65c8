"""Draws pieces: uniformly from the eligible pieces, or from a set of them that is first drawn by weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core.keys import Stage, below, derive, uniforms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.records import Int64Array, UInt64Array


@frozen(kw_only=True)
class PieceSet:
    """A run of the eligible pieces that makes up one of several training sets."""

    name: str
    #: Number of eligible pieces in the set; the sets follow one another and cover all of them.
    pieces: int
    #: Share of the draws, relative to the other sets.
    weight: float


class PieceDrawer:
    """Draws pieces by key. Without sets, or with one, all pieces are equally likely."""

    def __init__(self, pieces: Int64Array, sets: Sequence[PieceSet] = ()) -> None:
        """``pieces`` int64, ascending; those of the first set, then those of the second, …"""
        self._pieces = pieces
        self._sizes = np.array([one.pieces for one in sets] or [len(pieces)], dtype=np.int64)
        self._first = np.cumsum(self._sizes) - self._sizes
        weights = np.array([one.weight for one in sets] or [1.0], dtype=np.float64)
        self._ends = np.cumsum(weights / weights.sum())[:-1]

    def draw(self, keys: UInt64Array) -> Int64Array:
        """The piece of each draw key uint64[N]: int64[N]."""
        within = uniforms(derive(keys, Stage.PIECE), 1)[:, 0]
        if len(self._sizes) == 1:
            return self._pieces[below(within, len(self._pieces))]
        drawn = np.searchsorted(self._ends, uniforms(derive(keys, Stage.SET), 1)[:, 0], side="right")
        pieces: Int64Array = self._pieces[self._first[drawn] + below(within, self._sizes[drawn])]
        return pieces

    @property
    def num_sets(self) -> int:
        return len(self._sizes)

    def set_of(self, pieces: Int64Array) -> Int64Array:
        """The number of the set that each of ``pieces`` int64[N] belongs to: int64[N]."""
        return np.searchsorted(self._pieces[self._first], pieces, side="right") - 1
