"""Music compared regardless of key, tempo, loudness, instruments and the order of its tracks.

A piece has two keys, hashes that are computed natively from its columns. They distinguish music that was not made to
collide; they do not resist an attacker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core import _native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from midigpt_core.records import Int64Array, ScoreColumns, UInt64Array

    UInt32Array = NDArray[np.uint32]

#: Values of a sketch.
SKETCH_SIZE = 32
#: Raise with every change of a hash.
SIMILARITY_VERSION = 1


@frozen(eq=False)
class MusicKeys:
    """What P pieces sound like, apart from key, tempo, loudness, instruments and track order."""

    #: uint64[P]: equal for pieces with the same notes at the same places, transposed as a whole or not; 0: no notes.
    exact: UInt64Array
    #: uint32[P, SKETCH_SIZE], a MinHash over the pieces' bars (each bar of each track, transposed on its own): the
    #: share of equal values estimates the share of equal bars.
    sketch: UInt32Array
    #: int64[P], how many different bars the sketch is made of.
    bars: Int64Array

    @classmethod
    def of(cls, pieces: int) -> MusicKeys:
        """Room for the keys of so many pieces."""
        return cls(np.empty(pieces, np.uint64), np.empty((pieces, SKETCH_SIZE), np.uint32), np.empty(pieces, np.int64))

    def part(self, first: int, last: int) -> MusicKeys:
        """A view of the keys of pieces ``first`` to ``last`` (exclusive)."""
        return MusicKeys(self.exact[first:last], self.sketch[first:last], self.bars[first:last])

    def put(self, first: int, keys: MusicKeys) -> None:
        """Overwrite the keys of pieces from ``first`` on."""
        here = self.part(first, first + len(keys.exact))
        here.exact[:], here.sketch[:], here.bars[:] = keys.exact, keys.sketch, keys.bars

    def of_pieces(self, pieces: Int64Array) -> MusicKeys:
        """The keys of some pieces, by index."""
        return MusicKeys(self.exact[pieces], self.sketch[pieces], self.bars[pieces])


def music_keys(columns: ScoreColumns) -> MusicKeys:
    """The keys of all pieces. Velocities, microtiming, tempo, programs and the order of tracks and notes do not count;
    of a piece's drums, pitches do. Raises ValueError for columns whose runs contradict one another."""
    keys = MusicKeys.of(columns.num_pieces)
    _native.music_keys(columns, exact=keys.exact, sketch=keys.sketch.reshape(-1), bars=keys.bars)
    return keys


def joined_keys(parts: Sequence[MusicKeys]) -> MusicKeys:
    """The keys of the pieces of all parts, one part after the other."""
    keys = MusicKeys.of(sum(len(part.exact) for part in parts))
    first = 0
    for part in parts:
        keys.put(first, part)
        first += len(part.exact)
    return keys
