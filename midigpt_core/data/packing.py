"""Packs documents: the longest prefix of a sequence that best-fit decreasing packs without leaving one over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core._native import best_fit as best_fit_native
from midigpt_core._native import fill_rows as fill_rows_native
from midigpt_core.memory import empty
from midigpt_core.records import PackedBatch

if TYPE_CHECKING:
    from midigpt_core.records import Int32Array, Int64Array, UInt8Array

#: Row number of a document that does not fit.
LEFT_OVER = -1


def best_fit(lengths: Int64Array, num_rows: int, row_length: int) -> Int32Array:
    """The packed row of each document, int32[D], :data:`LEFT_OVER` where no row had room.

    Documents are placed from the longest to the shortest, each into the row with the least room that is enough.
    """
    rows = np.empty(len(lengths), dtype=np.int32)
    best_fit_native(lengths, num_rows=num_rows, row_length=row_length, rows=rows)
    return rows


def fit_longest_prefix(lengths: Int64Array, num_rows: int, row_length: int) -> Int32Array:
    """The packed rows of the first K documents, int32[K], for the largest K that bisection finds to leave none over.

    A longer prefix could fill the rows better only by leaving documents out, the short ones first.
    """
    # The search starts from what fits by the number of tokens, so documents far behind do not change its steps.
    count = int(np.searchsorted(np.cumsum(lengths), num_rows * row_length, side="right"))
    fitting, too_many = 0, count + 1
    rows = np.zeros(0, dtype=np.int32)
    while fitting + 1 < too_many:
        attempt = best_fit(lengths[:count], num_rows, row_length)
        if (attempt == LEFT_OVER).any():
            too_many = count
        else:
            fitting, rows = count, attempt
        count = (fitting + too_many) // 2
    return rows


def fill_rows(
    *,
    tokens: Int32Array,
    role: UInt8Array,
    offsets: Int64Array,
    rows: Int32Array,
    row_index: Int64Array,
    row_length: int,
    positions: Int32Array | None = None,
) -> PackedBatch:
    """Rows with the documents of each, in the documents' order, then padding.

    ``rows`` int32[D] counts from 0 to ``len(row_index) - 1`` or is :data:`LEFT_OVER`; ``row_index`` int64[R] becomes
    :attr:`PackedBatch.row`. ``positions`` are those of the tokens; None: their places in their documents. Raises
    ValueError if a row's documents are longer than ``row_length``.
    """
    shape = (len(row_index), row_length)
    packed = PackedBatch(
        input_ids=empty(shape, np.int64),
        labels=empty(shape, np.int64),
        position_ids=empty(shape, np.int64),
        document_ids=empty(shape, np.int32),
        role=empty(shape, np.uint8),
        row=row_index,
    )
    fill_rows_native(
        tokens=tokens,
        positions=positions,
        role=role,
        offsets=offsets,
        rows=rows,
        row_length=row_length,
        input_ids=packed.input_ids.reshape(-1),
        labels=packed.labels.reshape(-1),
        position_ids=packed.position_ids.reshape(-1),
        document_ids=packed.document_ids.reshape(-1),
        row_role=packed.role.reshape(-1),
    )
    return packed
