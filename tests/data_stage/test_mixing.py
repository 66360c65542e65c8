"""Pieces of several training sets are drawn by weight, evenly within a set, and by key alone."""

from __future__ import annotations

import attrs
import numpy as np
from scipy.stats import chisquare

from midigpt_core.data.blocks import ROWS_PER_BLOCK
from midigpt_core.data.mixing import PieceDrawer, PieceSet
from midigpt_core.data.settings import StreamSettings
from midigpt_core.keys import Stage, derive
from support.windows import corpus_of, open_in_memory, random_pieces, spec_of

DRAWS = 20_000
#: 13 pieces with gaps between them, in sets of 3, 2 and 8.
PIECES = np.array([1, 2, 5, 9, 10, 11, 12, 13, 14, 15, 20, 21, 22])
SETS = (
    PieceSet(name="a", pieces=3, weight=1.0),
    PieceSet(name="b", pieces=2, weight=5.0),
    PieceSet(name="c", pieces=8, weight=2.0),
)


def draw(sets: tuple[PieceSet, ...], draws: np.ndarray) -> np.ndarray:
    return PieceDrawer(PIECES, sets).draw(derive(17, Stage.DRAW, draws))


def test_sets_are_drawn_by_weight_and_pieces_of_a_set_evenly() -> None:
    drawn = draw(SETS, np.arange(DRAWS))
    counts = np.array([(drawn == piece).sum() for piece in PIECES])
    assert counts.sum() == DRAWS
    expected = np.repeat([1 / 8 / 3, 5 / 8 / 2, 2 / 8 / 8], [3, 2, 8]) * DRAWS
    assert chisquare(counts, expected).pvalue > 0.01


def test_weights_count_relative_to_one_another() -> None:
    tripled = tuple(attrs.evolve(one, weight=3 * one.weight) for one in SETS)
    assert (draw(tripled, np.arange(500)) == draw(SETS, np.arange(500))).all()


def test_one_set_is_no_set() -> None:
    whole = (PieceSet(name="all", pieces=len(PIECES), weight=0.3),)
    assert (draw(whole, np.arange(500)) == draw((), np.arange(500))).all()


def test_a_draw_does_not_depend_on_the_draws_beside_it() -> None:
    some = np.arange(3, 500, 7)
    assert (draw(SETS, some) == draw(SETS, np.arange(500))[some]).all()


def test_a_block_says_how_many_tokens_of_each_row_are_of_each_set() -> None:
    first, second = random_pieces(3, 40), random_pieces(4, 25)
    corpus = corpus_of(first, second)
    sets = (PieceSet(name="a", pieces=40, weight=1.0), PieceSet(name="b", pieces=25, weight=3.0))
    spec = attrs.evolve(spec_of(65, StreamSettings(max_seq_len=512, min_fill_ratio=0.2)), sets=sets)
    block = open_in_memory(corpus, spec).block(3)
    expected = np.zeros((ROWS_PER_BLOCK, 2), dtype=np.int64)
    documents = block.documents
    for piece, length, row in zip(documents.piece, documents.length, documents.row, strict=True):
        expected[row, int(piece >= 40)] += length
    assert (block.tokens_by_set == expected).all()
    assert block.tokens_by_set.sum() == block.report.tokens
    assert (block.tokens_by_set.sum(axis=1) == (block.batch.document_ids >= 0).sum(axis=1)).all()
    assert 0.5 < block.tokens_by_set[:, 1].sum() / block.report.tokens < 0.95
