"""The isolated parser by itself: batches that grow, shrink and are empty, and one after a crash."""

from __future__ import annotations

import numpy as np
import pytest

from midigpt_core.corpus import status
from midigpt_core.corpus.isolation import IsolatedParser, ParserLimits
from midigpt_core.score.columns import COLUMNS, OFFSETS
from midigpt_core.score.reading import read_batch
from support.corpus import MIDI, small_rows
from support.parsers import HANG, SEGFAULT


def batch(files: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(b"".join(files), np.uint8), np.cumsum([0, *map(len, files)], dtype=np.int64)


def test_batches_of_any_size_in_turn() -> None:
    """What stands in the shared memory from the batch before is never taken for the next one's."""
    large = [path.read_bytes() for path in MIDI]
    with IsolatedParser() as parser:
        for files in (small_rows(1), [], large, small_rows(40, seed=1), large * 3, [b""], small_rows(2, seed=2)):
            found, expected = parser.parse(*batch(files)), read_batch(*batch(files))
            assert found.status.tolist() == expected.status.tolist()
            for name in (*COLUMNS, *OFFSETS.values()):
                np.testing.assert_array_equal(getattr(found.columns, name), getattr(expected.columns, name))


def test_a_batch_after_a_crash_is_read_from_its_own_bytes() -> None:
    good, bad = small_rows(5), SEGFAULT
    with IsolatedParser("support.parsers:faulty") as parser:
        first = parser.parse(*batch([*good[:2], bad, *good[2:]]))
        again = parser.parse(*batch(good))
    assert [code == status.KEPT for code in first.status.tolist()] == [True, True, False, True, True, True]
    assert again.status.tolist() == [status.KEPT] * 5


@pytest.mark.parametrize("guilty", [[0], [15, 16], [255, 256], [3, 299], list(range(100, 140)), list(range(300))])
def test_the_guilty_rows_are_found_wherever_they_stand(guilty: list[int]) -> None:
    """In a chunk of many parts, at their ends, many in a part, and where every row is guilty."""
    files = small_rows(300)
    for row in guilty:
        files[row] = SEGFAULT
    with IsolatedParser("support.parsers:faulty") as parser:
        found = parser.parse(*batch(files))
    kept = [row for row in range(300) if row not in guilty]
    assert np.flatnonzero(found.status != status.KEPT).tolist() == guilty
    expected = read_batch(*batch([files[row] for row in kept])).columns
    for name in COLUMNS:
        if COLUMNS[name].level != "piece":  # a row without music has a tempo too
            np.testing.assert_array_equal(getattr(found.columns, name), getattr(expected, name))
    lengths = np.diff(found.columns.note_offsets)
    assert not lengths[guilty].any()
    np.testing.assert_array_equal(lengths[kept], np.diff(expected.note_offsets))


def test_a_hanging_row_costs_two_time_outs(monkeypatch: pytest.MonkeyPatch) -> None:
    files = small_rows(60)
    files[37] = HANG
    failures: list[int] = []
    original = IsolatedParser._failure

    def counting(parser: IsolatedParser) -> int:
        failures.append(original(parser))
        return failures[-1]

    monkeypatch.setattr(IsolatedParser, "_failure", counting)
    with IsolatedParser("support.parsers:faulty", limits=ParserLimits(timeout_s=2.0)) as parser:
        found = parser.parse(*batch(files))
    assert failures == [status.TIMEOUT] * 2
    assert np.flatnonzero(found.status != status.KEPT).tolist() == [37]
    assert found.status[37] == status.TIMEOUT
