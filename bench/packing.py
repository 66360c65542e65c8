"""Packing: the padding of packed rows of 2048 (yellow), the documents left out, and fairness over their lengths."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
import numpy as np
from scipy import stats

from bench import corpus
from bench.built import PRESET, ready
from bench.rows import BASELINE, Row, at_least, at_most
from midigpt_core.data.blocks import ROWS_PER_BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.built import Ready
    from bench.session import Session
    from midigpt_core.records import Int64Array

_BLOCKS = 100
_UNPACKED_BLOCKS = 600
_ROW = 2048
_BASELINE_STEP = 12
_BASELINE_BATCHES = 8


def rows(session: Session) -> Iterator[Row]:
    shard = corpus.pieces_path(session.folder)
    data = ready([shard], session.folder)
    stream = data.stream_spec().open()
    statuses: Counter[str] = Counter()
    padding, packed = 0, []
    for index in range(_BLOCKS):
        block = stream.block(index)
        padding += block.report.padding
        statuses.update(block.report.statuses)
        packed.append(block.documents.length)
    lengths, unpacked = np.concatenate(packed), _unpacked(data)
    drawn = sum(statuses.values())
    with session.baseline("padding.py", shard, session.preset(PRESET), _BASELINE_STEP, _BASELINE_BATCHES) as baseline:
        theirs = None if baseline is None else 100 * baseline().work
    yield Row(
        name="padding",
        unit="%",
        ours=100 * padding / (_BLOCKS * ROWS_PER_BLOCK * _ROW),
        theirs=theirs,
        against=f"{BASELINE}, batches of 16",
        required=at_most(1),
        how=f"{_BLOCKS} blocks of {ROWS_PER_BLOCK} rows of {_ROW}, yellow; the baseline's MidiGPTCollator on "
        f"{_BASELINE_BATCHES} batches",
    )
    # A block ends before the first document that does not fit; that one is passed over, and no other.
    passed_over = _BLOCKS + drawn - len(lengths) - statuses["no_window"]
    yield Row(
        name="documents passed over",
        unit="%",
        ours=100 * passed_over / (drawn + _BLOCKS),
        required=at_most(0.5),
        how=f"of {drawn:,} draws: the document that ends a block by not fitting, one per block, and those refused by "
        "the encoder",
    )
    yield Row(
        name="fairness over length quartiles, p of chi-square",
        unit="",
        ours=_fairness(lengths, unpacked),
        required=at_least(0.01),
        how=f"lengths of {len(lengths):,} packed documents compared with {len(unpacked):,} drawn for rows of "
        "their own, in quartiles of the latter",
    )


def _unpacked(data: Ready) -> Int64Array:
    """Lengths of documents that no packing has touched."""
    spec = data.stream_spec()
    alone = attrs.evolve(spec, settings=attrs.evolve(spec.settings, packing=False, seed=99)).open()
    return np.concatenate([alone.block(index).documents.length for index in range(_UNPACKED_BLOCKS)])


def _fairness(packed: Int64Array, unpacked: Int64Array) -> float:
    """p of the chi-square test that packed documents are as long as documents are."""
    edges = np.quantile(unpacked, [0.25, 0.5, 0.75])
    table = [np.bincount(np.searchsorted(edges, lengths), minlength=4) for lengths in (packed, unpacked)]
    return float(stats.chi2_contingency(np.array(table)).pvalue)
