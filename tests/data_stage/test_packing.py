"""Packing: every token of every document once, in its place."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from midigpt_core.data.packing import LEFT_OVER, best_fit, fill_rows, fit_longest_prefix
from midigpt_core.records import IGNORED_LABEL, TokenRole
from support.windows import offsets_of

lengths_and_rows = st.tuples(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 8))


def reference_best_fit(lengths: list[int], num_rows: int, row_length: int) -> list[int]:
    rooms = [(row_length, row) for row in range(num_rows)]
    rows = [LEFT_OVER] * len(lengths)
    for document in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        best = bisect_left(rooms, (lengths[document], -1))
        if best < len(rooms):
            room, rows[document] = rooms.pop(best)
            insort(rooms, (room - lengths[document], rows[document]))
    return rows


@given(lengths_and_rows)
@settings(max_examples=200, deadline=None)
def test_best_fit_is_the_textbook_algorithm(case):
    lengths, num_rows = case
    assert best_fit(np.array(lengths, dtype=np.int64), num_rows, 40).tolist() == reference_best_fit(
        lengths, num_rows, 40
    )


@given(lengths_and_rows, st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_rows_hold_every_token_of_every_document_once(case, seed):
    lengths, num_rows = case
    row_length = 40
    rows = best_fit(np.array(lengths, dtype=np.int64), num_rows, row_length)
    offsets = offsets_of(lengths)
    generator = np.random.Generator(np.random.Philox(seed))
    tokens = generator.integers(1, 1000, offsets[-1], dtype=np.int32)
    role = generator.integers(0, 2, offsets[-1], dtype=np.uint8)
    row_index = np.arange(num_rows) + 640
    positions = None if seed % 2 else generator.integers(0, 40, offsets[-1], dtype=np.int32)
    packed = fill_rows(
        tokens=tokens,
        positions=positions,
        role=role,
        offsets=offsets,
        rows=rows,
        row_index=row_index,
        row_length=row_length,
    )
    assert packed.row.tolist() == row_index.tolist()

    expected_ids = np.zeros((num_rows, row_length), np.int64)
    expected_labels = np.full((num_rows, row_length), IGNORED_LABEL)
    expected_positions = np.zeros((num_rows, row_length), np.int64)
    expected_documents = np.full((num_rows, row_length), -1)
    expected_role = np.full((num_rows, row_length), TokenRole.CONTEXT)
    used, count = [0] * num_rows, [0] * num_rows
    for document, row in enumerate(rows.tolist()):
        if row == LEFT_OVER:
            continue
        own = slice(offsets[document], offsets[document + 1])
        place = slice(used[row], used[row] + lengths[document])
        expected_ids[row, place] = tokens[own]
        expected_labels[row, place] = [*tokens[own][1:], IGNORED_LABEL]
        expected_positions[row, place] = np.arange(lengths[document]) if positions is None else positions[own]
        expected_documents[row, place] = count[row]
        expected_role[row, place] = role[own]
        used[row] += lengths[document]
        count[row] += 1
    np.testing.assert_array_equal(packed.input_ids, expected_ids)
    np.testing.assert_array_equal(packed.labels, expected_labels)
    np.testing.assert_array_equal(packed.position_ids, expected_positions)
    np.testing.assert_array_equal(packed.document_ids, expected_documents)
    np.testing.assert_array_equal(packed.role, expected_role)


@given(st.lists(st.integers(1, 40), max_size=80), st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_the_longest_prefix_leaves_nothing_over(lengths, num_rows):
    array = np.array(lengths, dtype=np.int64)
    rows = fit_longest_prefix(array, num_rows, 40)
    assert rows.tolist() == best_fit(array[: len(rows)], num_rows, 40).tolist()
    assert LEFT_OVER not in rows
    if sum(lengths) > num_rows * 40:  # what is drawn beyond the rows' tokens makes no difference
        np.testing.assert_array_equal(fit_longest_prefix(np.append(array, [1, 40, 1]), num_rows, 40), rows)
    if len(rows) < len(lengths):
        assert LEFT_OVER in best_fit(array[: len(rows) + 1], num_rows, 40)


@pytest.mark.parametrize(
    ("offsets", "rows"),
    [([0, 5, 12], [0, 0]), ([0, 5, 3], [0, 1]), ([0, 5, 99], [0, 1]), ([-5, 5, 8], [0, 1]), ([0, 5, 8], [0, 2])],
    ids=["row too full", "descending", "beyond the tokens", "before the tokens", "no such row"],
)
def test_documents_that_do_not_fit_are_refused(offsets, rows):
    with pytest.raises(ValueError, match="do not fit"):
        fill_rows(
            tokens=np.zeros(12, dtype=np.int32),
            role=np.zeros(12, dtype=np.uint8),
            offsets=np.array(offsets),
            rows=np.array(rows, dtype=np.int32),
            row_index=np.arange(2),
            row_length=10,
        )
