"""The token stream of a run: an endless sequence of packed rows, each identified by its number.

Row ``r`` is row ``r mod 64`` of block ``r div 64``, and a block is a function of (seed, block index) alone. So the
stream does not depend on workers, ranks or where a run starts, and needs no state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen

from midigpt_core.contracts import EncoderContext, MaskContext
from midigpt_core.corpus.origins import PieceOrigin, origin
from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.blocks import ROWS_PER_BLOCK, BlockMaker
from midigpt_core.data.cells import Masker
from midigpt_core.data.encoding import CheckedEncoder
from midigpt_core.data.mixing import PieceDrawer, PieceSet
from midigpt_core.data.reshaping import WindowReshaper
from midigpt_core.data.windows import WindowDrawer
from midigpt_core.errors import DataError
from midigpt_core.plugins import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Encoder, MaskStrategy, PluginAttribute
    from midigpt_core.data.blocks import Block
    from midigpt_core.data.settings import StreamSettings
    from midigpt_core.records import Corpus, Int64Array


@frozen
class RowPiece:
    """One document of a packed row."""

    origin: PieceOrigin
    piece: int
    start_bar: int
    num_bars: int

    def __str__(self) -> str:
        return f"{self.origin}, bars {self.start_bar} to {self.start_bar + self.num_bars - 1}"


def _paths(shards: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(shards)


@frozen(eq=False, kw_only=True)
class StreamSpec:
    """All that a worker needs to make the stream; picklable."""

    shards: tuple[Path, ...] = field(converter=_paths)
    #: int64, ascending: the pieces that windows are drawn from.
    pieces: Int64Array
    encoder: ComponentRef
    #: None: nothing is masked.
    mask: ComponentRef | None
    settings: StreamSettings
    #: Names of the shards for messages; empty: those that their corpora were built under.
    sources: tuple[str, ...] = ()
    #: The encoder's attribute controls of plugins, as this process found them.
    plugin_attributes: tuple[PluginAttribute, ...] = ()
    #: Several training sets, in the order of their pieces; empty: one.
    sets: tuple[PieceSet, ...] = ()

    def open(self) -> TokenStream:
        """Map the corpus and build encoder and mask."""
        opened = open_corpus(self.shards, self.sources)
        context = EncoderContext(plugin_attributes=self.plugin_attributes or None)
        encoder: Encoder = build(self.encoder, context)
        mask: MaskStrategy | None = None
        if self.mask is not None:
            mask = build(self.mask, MaskContext(window_sizes=encoder.window_sizes))
        return TokenStream(
            spec=self,
            corpus=opened.corpus,
            encoder=encoder,
            mask=mask,
            verify=opened.verify,
            check_unlost=opened.check_unlost,
        )


class TokenStream:
    """Blocks of packed rows from an open corpus."""

    def __init__(
        self,
        *,
        spec: StreamSpec,
        corpus: Corpus,
        encoder: Encoder,
        mask: MaskStrategy | None,
        verify: Callable[[Int64Array], None] = lambda pieces: None,
        check_unlost: Callable[[], None] = lambda: None,
    ) -> None:
        """``verify`` checks the stored bytes of pieces before they are read, and ``check_unlost`` checks afterwards
        that none of them was lost.

        Raises :class:`DataError` for an empty set of pieces, :class:`midigpt_core.errors.ConfigError` if the settings
        need something that the encoder does not provide.
        """
        if len(spec.pieces) == 0:
            raise DataError("no piece to train on. Lower num_bars_choices or min_tracks, or give more data.")
        if spec.pieces[0] < 0 or spec.pieces[-1] >= corpus.num_pieces:
            raise DataError("the eligible pieces are from another corpus. Run `midigpt preprocess` again.")
        settings = spec.settings
        masker = None
        if mask is not None and spec.mask is not None:
            masker = Masker(mask, spec.mask, settings.mask_apply_probability)
        self.corpus = corpus
        self.encoder = encoder
        self._check_unlost = check_unlost
        self._maker = BlockMaker(
            PieceDrawer(spec.pieces, spec.sets),
            WindowDrawer(corpus, encoder, masker, settings),
            CheckedEncoder(encoder, spec.encoder, corpus, settings.max_seq_len),
            settings,
            verify=verify,
            reshaper=WindowReshaper(corpus, settings),
        )

    def block(self, index: int) -> Block:
        """Rows ``64 * index`` to ``64 * index + 63``.

        Raises :class:`midigpt_core.errors.ComponentError` if encoder or mask fail, :class:`DataError` if no window
        gives tokens, :class:`midigpt_core.errors.CorpusError` if the corpus is damaged.
        """
        try:
            return self._maker.make(index)
        finally:
            # Also if a component failed because of what it read.
            self._check_unlost()

    def pieces_of_row(self, row: int) -> list[RowPiece]:
        """The documents of a packed row."""
        documents = self.block(row // ROWS_PER_BLOCK).documents
        return [
            RowPiece(
                origin(self.corpus, int(documents.piece[document])),
                int(documents.piece[document]),
                int(documents.start_bar[document]),
                int(documents.num_bars[document]),
            )
            for document in np.flatnonzero(documents.row == row % ROWS_PER_BLOCK).tolist()
        ]
