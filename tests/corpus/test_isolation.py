"""The isolated parser by itself: batches that grow, shrink and are empty, and one after a crash."""

from __future__ import annotations

import numpy as np
from corpus_parsers import SEGFAULT
from corpus_parts import MIDI, small_rows

from midigpt_core.corpus import status
from midigpt_core.corpus.isolation import IsolatedParser
from midigpt_core.score.columns import COLUMNS, OFFSETS
from midigpt_core.score.reading import read_batch


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
    with IsolatedParser("corpus_parsers:faulty") as parser:
        first = parser.parse(*batch([*good[:2], bad, *good[2:]]))
        again = parser.parse(*batch(good))
    assert [code == status.KEPT for code in first.status.tolist()] == [True, True, False, True, True, True]
    assert again.status.tolist() == [status.KEPT] * 5
