"""Where a piece comes from, for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from midigpt_core.records import Corpus


@frozen
class PieceOrigin:
    """A source file and a row of it."""

    source: str
    row: int
    #: What the source calls the piece: the name of its file, say; empty if nothing.
    identity: str = ""

    def __str__(self) -> str:
        return f"{self.source}, row {self.row}{f' ({printable(self.identity)})' if self.identity else ''}"


def origin(corpus: Corpus, piece: int) -> PieceOrigin:
    """The origin of a piece index."""
    number = int(np.searchsorted(corpus.piece_offsets, piece, side="right")) - 1
    shard = corpus.shards[number]
    table, index = shard.pieces, piece - int(corpus.piece_offsets[number])
    start, end = table.id_offsets[index : index + 2].tolist()
    identity = table.id_bytes[start:end].tobytes().decode("utf-8", "replace")
    return PieceOrigin(shard.source, int(table.row[index]), identity)
