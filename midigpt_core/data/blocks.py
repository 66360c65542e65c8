"""A block: 64 packed rows as a pure function of (seed, block index).

A block contains the first documents of its sequence of draws, as many as fit into its rows together. Packing 64 rows at
once wastes far less space than filling row by row. The documents are a prefix of the draws, so none is skipped because
of its length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen

from midigpt_core.contracts import status_name
from midigpt_core.data.packing import fill_rows, fit_longest_prefix
from midigpt_core.errors import DataError
from midigpt_core.keys import Stage, bits, derive

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from midigpt_core.data.encoding import CheckedEncoder
    from midigpt_core.data.mixing import PieceDrawer
    from midigpt_core.data.reshaping import WindowReshaper
    from midigpt_core.data.settings import StreamSettings
    from midigpt_core.data.windows import WindowDrawer
    from midigpt_core.records import Int32Array, Int64Array, PackedBatch, UInt8Array, UInt64Array

ROWS_PER_BLOCK = 64
#: A corpus is rejected if this many successive draws give no token.
_MOST_USELESS_DRAWS = 4096
_NO_WINDOW = 255


@frozen(kw_only=True)
class BlockReport:
    """The outcomes of a block's draws; the counts of ``statuses`` add up to ``draws``."""

    draws: int
    #: Documents, all of them in the packed rows.
    documents: int
    #: Tokens in the packed rows, and positions without one.
    tokens: int
    padding: int
    #: Draws by outcome: the names of :class:`midigpt_core.records.TokenStatus`, and ``no_window``.
    statuses: Mapping[str, int]


@frozen(eq=False, kw_only=True)
class BlockDocuments:
    """The D documents of a block, in the order in which they were drawn, also within a packed row."""

    piece: Int64Array
    start_bar: Int32Array
    num_bars: Int32Array
    #: int64[D], tokens.
    length: Int64Array
    #: int32[D], packed row within the block.
    row: Int32Array


@frozen(eq=False, kw_only=True)
class Block:
    index: int
    batch: PackedBatch
    documents: BlockDocuments
    report: BlockReport
    #: int64[R, S], tokens of each packed row by training set.
    tokens_by_set: Int64Array


@frozen(eq=False, kw_only=True)
class _Draws:
    """Successive draws and their documents; an unusable draw has length 0."""

    piece: Int64Array
    start_bar: Int32Array
    num_bars: Int32Array
    length: Int64Array
    status: UInt8Array
    tokens: list[Int32Array] = field(factory=list)
    role: list[UInt8Array] = field(factory=list)
    positions: list[Int32Array | None] = field(factory=list)


class BlockMaker:
    """Draws, encodes and packs blocks."""

    def __init__(
        self,
        pieces: PieceDrawer,
        windows: WindowDrawer,
        encoder: CheckedEncoder,
        settings: StreamSettings,
        *,
        verify: Callable[[Int64Array], None],
        reshaper: WindowReshaper,
    ) -> None:
        self._pieces = pieces
        self._windows = windows
        self._encoder = encoder
        self._settings = settings
        self._verify = verify
        self._reshaper = reshaper
        #: Mean tokens per draw so far. It determines only how many draws are encoded at once, never their result.
        self._mean_length = settings.max_seq_len / 6

    def make(self, index: int) -> Block:
        """Block ``index``. Raises :class:`DataError` if the corpus gives no tokens."""
        key = derive(self._settings.seed, Stage.PACK, index)
        draws, rows = self._draw(key)
        usable = draws.length > 0
        # Packing puts the longest documents into the first rows; shuffling makes all rows alike.
        shuffled = np.argsort(bits(derive(key, Stage.MIX), ROWS_PER_BLOCK)[0], kind="stable").astype(np.int32)
        documents = BlockDocuments(
            piece=draws.piece[usable],
            start_bar=draws.start_bar[usable],
            num_bars=draws.num_bars[usable],
            length=draws.length[usable],
            row=shuffled[rows],
        )
        batch = fill_rows(
            tokens=np.concatenate(draws.tokens),
            positions=_joined_positions(draws.positions),
            role=np.concatenate(draws.role),
            offsets=np.concatenate([[0], np.cumsum(documents.length)]),
            rows=documents.row,
            row_index=index * ROWS_PER_BLOCK + np.arange(ROWS_PER_BLOCK, dtype=np.int64),
            row_length=self._settings.max_seq_len,
        )
        return Block(
            index=index,
            batch=batch,
            documents=documents,
            report=self._report(draws, documents),
            tokens_by_set=self._tokens_by_set(documents),
        )

    def _draw(self, key: UInt64Array) -> tuple[_Draws, Int32Array]:
        """The draws of a block and the packed rows of their documents."""
        capacity = ROWS_PER_BLOCK * self._settings.max_seq_len if self._settings.packing else ROWS_PER_BLOCK
        chunks: list[_Draws] = []
        drawn = spent = 0
        while spent <= capacity:
            chunk = self._encode(key, drawn, self._chunk_size(capacity - spent))
            chunks.append(chunk)
            drawn += len(chunk.length)
            spent += int(chunk.length.sum() if self._settings.packing else (chunk.length > 0).sum())
            self._mean_length = max(1.0, 0.8 * self._mean_length + 0.2 * float(chunk.length.mean()))
            if spent == 0 and drawn >= _MOST_USELESS_DRAWS:
                raise DataError(self._explain_useless(_join(chunks, drawn)))
        draws = _join(chunks, drawn)
        usable = np.flatnonzero(draws.length > 0)
        if self._settings.packing:
            rows = fit_longest_prefix(draws.length[usable], ROWS_PER_BLOCK, self._settings.max_seq_len)
        else:
            rows = np.arange(ROWS_PER_BLOCK, dtype=np.int32)
        # More than the capacity was drawn, so there is a document after the last that fits; the block ends before it.
        return _join(chunks, int(usable[len(rows)])), rows

    def _chunk_size(self, remaining: int) -> int:
        draws = remaining / self._mean_length if self._settings.packing else remaining
        return min(4096, int(draws * 1.05) + 8)

    def _encode(self, block_key: UInt64Array, first: int, count: int) -> _Draws:
        """Draws ``first`` .. ``first + count - 1`` of a block, encoded."""
        keys = derive(block_key, Stage.DRAW, np.arange(first, first + count))
        pieces = self._pieces.draw(keys)
        self._verify(pieces)
        drawn = self._windows.draw(keys, pieces)
        read = self._reshaper.reshape(keys[drawn.draw], drawn.windows)
        encoded = self._encoder.encode(drawn.windows, read)
        length = np.zeros(count, dtype=np.int64)
        status = np.full(count, _NO_WINDOW, dtype=np.uint8)
        start_bar = np.full(count, -1, dtype=np.int32)
        num_bars = np.zeros(count, dtype=np.int32)
        length[drawn.draw] = np.diff(encoded.offsets)
        status[drawn.draw] = encoded.status
        start_bar[drawn.draw] = drawn.windows.start_bar
        num_bars[drawn.draw] = drawn.windows.num_bars
        return _Draws(
            piece=pieces,
            start_bar=start_bar,
            num_bars=num_bars,
            length=length,
            status=status,
            tokens=[encoded.tokens],
            role=[encoded.role],
            positions=[encoded.positions],
        )

    def _report(self, draws: _Draws, documents: BlockDocuments) -> BlockReport:
        tokens = int(documents.length.sum())
        return BlockReport(
            draws=len(draws.status),
            documents=len(documents.length),
            tokens=tokens,
            padding=ROWS_PER_BLOCK * self._settings.max_seq_len - tokens,
            statuses=_count_statuses(draws.status),
        )

    def _tokens_by_set(self, documents: BlockDocuments) -> Int64Array:
        """Tokens of each packed row by training set: int64[R, S]."""
        count = self._pieces.num_sets
        place = documents.row * count + self._pieces.set_of(documents.piece)
        tokens = np.bincount(place, weights=documents.length, minlength=ROWS_PER_BLOCK * count)
        return tokens.astype(np.int64).reshape(ROWS_PER_BLOCK, count)

    def _explain_useless(self, draws: _Draws) -> str:
        counts = ", ".join(f"{name} {count}" for name, count in _count_statuses(draws.status).items())
        return (
            f"none of {len(draws.status)} windows drawn gave tokens ({counts}). Raise max_seq_len, or choose other "
            "num_bars_choices or another encoder."
        )


def _count_statuses(status: UInt8Array) -> dict[str, int]:
    values, counts = np.unique(status, return_counts=True)
    return {
        "no_window" if value == _NO_WINDOW else status_name(value): count
        for value, count in zip(values.tolist(), counts.tolist(), strict=True)
    }


def _joined_positions(chunks: list[Int32Array | None]) -> Int32Array | None:
    """None if the encoder gives no positions."""
    given = [positions for positions in chunks if positions is not None]
    return np.concatenate(given) if len(given) == len(chunks) else None


def _join(chunks: list[_Draws], count: int) -> _Draws:
    """The first ``count`` draws of successive chunks. Tokens of later draws remain after the tokens that are used."""
    return _Draws(
        piece=np.concatenate([chunk.piece for chunk in chunks])[:count],
        start_bar=np.concatenate([chunk.start_bar for chunk in chunks])[:count],
        num_bars=np.concatenate([chunk.num_bars for chunk in chunks])[:count],
        length=np.concatenate([chunk.length for chunk in chunks])[:count],
        status=np.concatenate([chunk.status for chunk in chunks])[:count],
        tokens=[tokens for chunk in chunks for tokens in chunk.tokens],
        role=[role for chunk in chunks for role in chunk.role],
        positions=[positions for chunk in chunks for positions in chunk.positions],
    )
