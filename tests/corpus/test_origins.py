"""A piece's shard, and where it comes from in words."""

from __future__ import annotations

import attrs
import numpy as np

from midigpt_core.corpus.origins import origin, row_text
from midigpt_core.records import Corpus
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.testing.music import scores


def _corpus() -> Corpus:
    """Three shards: two pieces, none, one piece of a name."""
    full = in_memory_corpus(scores()).shards[0]
    empty = in_memory_corpus([]).shards[0]
    one = in_memory_corpus(scores()[:1]).shards[0]
    name = np.frombuffer(b"a\nb.mid", np.uint8)
    table = attrs.evolve(one.pieces, row=np.array([7]), id_offsets=np.array([0, len(name)]), id_bytes=name)
    return Corpus([full, empty, attrs.evolve(one, source="c.parquet", pieces=table)], np.array([0, 2, 2, 3]))


def test_a_piece_is_found_past_a_shard_without_pieces() -> None:
    corpus = _corpus()
    shards, local = corpus.locate(np.array([2, 0, 1]))
    assert shards.tolist() == [2, 0, 0]
    assert local.tolist() == [0, 0, 1]
    assert corpus.locate(2) == (2, 0)


def test_an_origin_names_file_row_and_piece_on_one_line() -> None:
    corpus = _corpus()
    assert str(origin(corpus, 1)) == "<memory>, row 1"
    assert str(origin(corpus, 2)) == "c.parquet, row 7 (a b.mid)"
    assert row_text(7, "") == "row 7"
