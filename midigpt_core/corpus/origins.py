"""Where a piece comes from, for messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from midigpt_core.records import Corpus, PieceTable


@frozen
class PieceOrigin:
    """A source file and a row of it."""

    source: str
    row: int
    #: The source's name for the piece, such as the name of its file; empty if there is none.
    identity: str = ""

    def __str__(self) -> str:
        return f"{self.source}, {row_text(self.row, printable(self.identity))}"


def origin(corpus: Corpus, piece: int) -> PieceOrigin:
    """The origin of a piece index."""
    number, index = corpus.locate(piece)
    shard = corpus.shards[number]
    return PieceOrigin(shard.source, int(shard.pieces.row[index]), identity_of(shard.pieces, index))


def row_text(row: int, identity: str) -> str:
    """``"row 17 (d41d8c…)"``, or ``"row 17"`` for a piece without a name."""
    return f"row {row} ({identity})" if identity else f"row {row}"


def identity_of(pieces: PieceTable, index: int) -> str:
    """The source's name for a piece, by its index in the table; empty if there is none."""
    start, end = pieces.id_offsets[index : index + 2].tolist()
    return pieces.id_bytes[start:end].tobytes().decode("utf-8", "replace")
