"""Where a piece comes from, for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from midigpt_core.records import Corpus


@frozen
class PieceOrigin:
    """A source file and a row of it."""

    source: str
    row: int

    def __str__(self) -> str:
        return f"{self.source}, row {self.row}"


def origin(corpus: Corpus, piece: int) -> PieceOrigin:
    """The origin of a piece index."""
    number = int(np.searchsorted(corpus.piece_offsets, piece, side="right")) - 1
    shard = corpus.shards[number]
    return PieceOrigin(shard.source, int(shard.pieces.row[piece - int(corpus.piece_offsets[number])]))
