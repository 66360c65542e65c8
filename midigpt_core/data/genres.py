"""The genre token of a window: one of the style names that the corpus has for the piece and the encoder knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.keys import below

if TYPE_CHECKING:
    from midigpt_core.contracts import Encoder
    from midigpt_core.records import Corpus, Float64Array, Int32Array, Int64Array, PieceTable

NO_GENRE = -1


class GenreDrawer:
    """Draws genre ids; caches the encoder's ids for each style string of the corpus."""

    def __init__(self, corpus: Corpus, encoder: Encoder) -> None:
        self._corpus = corpus
        self._encoder = encoder
        self._known: dict[bytes, tuple[int, ...]] = {}

    def draw(self, pieces: Int64Array, uniform: Float64Array) -> Int32Array:
        """One id per piece, uniform among the piece's names that the encoder knows; :data:`NO_GENRE` without one."""
        genres = np.full(len(pieces), NO_GENRE, dtype=np.int32)
        shards, local = self._corpus.locate(pieces)
        for shard in np.unique(shards):
            here = np.flatnonzero(shards == shard)
            styles, inverse = _distinct_styles(self._corpus.shards[shard].pieces, local[here])
            candidates = [self._ids(style) for style in styles]
            sizes = np.array([len(ids) for ids in candidates], dtype=np.int64)
            starts = np.cumsum(sizes) - sizes
            flat = np.array([genre for ids in candidates for genre in ids] or [NO_GENRE], dtype=np.int32)
            chosen = np.minimum(starts[inverse] + below(uniform[here], sizes[inverse]), len(flat) - 1)
            genres[here] = np.where(sizes[inverse] > 0, flat[chosen], NO_GENRE)
        return genres

    def _ids(self, style: bytes) -> tuple[int, ...]:
        if style not in self._known:
            names = style.decode("utf-8", errors="replace").split(",")
            ids = (self._encoder.genre_id(name.strip()) for name in names if name.strip())
            self._known[style] = tuple(genre for genre in ids if genre != NO_GENRE)
        return self._known[style]


def _distinct_styles(table: PieceTable, pieces: Int64Array) -> tuple[list[bytes], Int64Array]:
    """The distinct style strings of ``pieces`` and which of them each piece has."""
    begin, end = table.genre_offsets[pieces], table.genre_offsets[pieces + 1]
    width = max(1, int((end - begin).max(initial=0)))
    at = begin[:, None] + np.arange(width)
    inside = at < end[:, None]
    text = np.zeros(at.shape, dtype=np.uint8)
    text[inside] = table.genre_bytes[at[inside]]
    styles, inverse = np.unique(text.view(f"S{width}")[:, 0], return_inverse=True)
    return styles.tolist(), inverse
