"""Native window drawing: goldens, the written distribution, keys, and damaged columns."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from midigpt_core._native import WindowSampler, uniforms, valid_windows
from midigpt_core.keys import Stage, derive
from midigpt_core.keys import uniforms as python_uniforms
from midigpt_core.score import Score
from support.windows import Piece, columns_of, random_pieces

if TYPE_CHECKING:
    from midigpt_core.records import ScoreColumns

DATA = Path(__file__).resolve().parents[1] / "data"
DRAWS = 30_000


def window_keys(count: int, seed: int = 3) -> np.ndarray:
    return np.ascontiguousarray(derive(seed, Stage.WINDOW, np.arange(count)))


def draw(
    columns: ScoreColumns, pieces: np.ndarray, keys: np.ndarray, *, sizes=(4, 8), min_tracks=1, max_tracks=4, ratio=0.75
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Start bars, bar counts, tracks and statuses."""
    sampler = WindowSampler(
        [columns], sizes=list(sizes), min_tracks=min_tracks, max_tracks=max_tracks, min_fill_ratio=ratio
    )
    count = len(pieces)
    start, bars, status = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count, np.uint8)
    tracks = np.empty((count, max_tracks), np.int32)
    sampler.draw(pieces, keys, start_bar=start, num_bars=bars, tracks=tracks.reshape(-1), status=status)
    return start, bars, tracks, status


def good_by_definition(piece: Piece, num_bars: int, ratio: float, min_tracks: int) -> list[tuple[int, list[int]]]:
    """The valid windows, written as the definition reads."""
    bars, tracks = piece
    need = max(1, math.ceil(ratio * num_bars))
    found = []
    for start in range(bars - num_bars + 1):
        window = range(start, start + num_bars)
        good = [number for number, held in enumerate(tracks) if len(set(held) & set(window)) >= need]
        if len(good) >= min_tracks:
            found.append((start, good))
    return found


def test_golden_windows(golden):
    with gzip.open(DATA / "goldens" / "windows.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    columns = {name: Score.from_midi(DATA / "midi" / name).columns for name in {row["file"] for row in rows}}
    assert len(rows) == 216
    different = []
    for row in rows:
        found = valid_windows(columns[row["file"]], 0, row["bars"], row["min_fill"], row["tracks"])
        if [list(window) for window in found] != row["valid"]:
            different.append(f"{row['file']}, {row['bars']} bars, {row['tracks']} tracks")
    golden("windows", "valid starts and tracks", "", len(rows), different)
    assert different == []


@given(st.integers(0, 10**6), st.integers(1, 12), st.floats(0.0, 1.0), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_valid_windows_are_those_of_the_definition(seed, num_bars, ratio, min_tracks):
    piece = random_pieces(seed, 1, most_bars=30)[0]
    found = valid_windows(columns_of([piece]), 0, num_bars, ratio, min_tracks)
    assert found == good_by_definition(piece, num_bars, ratio, min_tracks)


@given(st.integers(0, 2**64 - 1), st.integers(0, 9))
def test_native_numbers_are_those_of_keys(key, count):
    expected = python_uniforms(np.array([key], dtype=np.uint64), count)[0]
    assert uniforms(key, count) == expected.tolist()


#: Sparse enough that the valid starts must often be listed, after no random try has found one.
SPARSE: Piece = (60, [[10, 11, 12, 13, 14, 40, 41, 42, 43], [11, 12, 13, 14, 41, 42, 43, 44], [40, 41, 42, 43, 44, 45]])
DENSE: Piece = (14, [list(range(14)), list(range(0, 14, 2)), [2, 3, 4, 5, 6, 7, 8, 9], list(range(5, 14))])


@pytest.mark.parametrize("piece", [SPARSE, DENSE], ids=["sparse", "dense"])
@pytest.mark.parametrize(("min_tracks", "max_tracks"), [(1, 4), (2, 3), (1, 1)])
def test_distribution_of_windows(piece, min_tracks, max_tracks):
    columns = columns_of([piece])
    sizes = (4, 5, 8)
    start, bars, tracks, status = draw(
        columns,
        np.zeros(DRAWS, dtype=np.int64),
        window_keys(DRAWS),
        sizes=sizes,
        min_tracks=min_tracks,
        max_tracks=max_tracks,
    )
    assert (status == 0).all()
    valid = {size: good_by_definition(piece, size, 0.75, min_tracks) for size in sizes}
    possible = [size for size in sizes if valid[size]]

    assert chisquare([(bars == size).sum() for size in possible]).pvalue > 0.01
    for size in possible:
        starts = [first for first, _ in valid[size]]
        of_size = start[bars == size]
        assert set(of_size.tolist()) <= set(starts)
        if len(starts) > 1:
            assert chisquare([(of_size == first).sum() for first in starts]).pvalue > 0.001

    size = possible[0]
    for first, good in valid[size][:3]:
        here = tracks[(bars == size) & (start == first)]
        counts = (here >= 0).sum(axis=1)
        allowed = range(min_tracks, min(max_tracks, len(good)) + 1)
        if len(allowed) > 1:
            assert chisquare([(counts == count).sum() for count in allowed]).pvalue > 0.001
        for count in allowed:
            orders = list(permutations(good, count))
            seen = Counter(tuple(row[:count]) for row in here[counts == count].tolist())
            assert set(seen) <= set(orders)
            if len(orders) > 1:
                assert chisquare([seen[order] for order in orders]).pvalue > 0.001
        assert (here[counts < max_tracks][:, -1:] == -1).all()


def test_a_piece_without_a_window_says_so():
    pieces = [(3, [[0, 1, 2]]), (8, [[0], [7]]), (8, [[0, 1, 2], [4]]), (8, []), (0, [])]
    _, _, tracks, status = draw(columns_of(pieces), np.arange(5), window_keys(5))
    assert status.tolist() == [1, 1, 0, 1, 1]
    assert (tracks[status == 1] == -1).all()


def test_a_window_depends_on_its_own_key_and_piece_only():
    columns = columns_of(random_pieces(5, 40))
    pieces = np.arange(200) % 40
    keys = window_keys(200)
    together = draw(columns, pieces, keys)
    order = np.arange(200)[::-3]
    for whole, part in zip(together, draw(columns, pieces[order].copy(), keys[order].copy()), strict=True):
        np.testing.assert_array_equal(whole[order], part)


def test_tracks_with_bars_of_their_own_share_the_shortest():
    piece = (12, [list(range(12)), list(range(6))])
    columns = columns_of([piece])
    own = attrs.evolve(
        columns,
        bar_offsets=np.array([0, 18]),
        bar_numerator=np.full(18, 4, dtype=np.int32),
        bar_denominator=np.full(18, 4, dtype=np.int32),
        bar_length=np.full(18, 4.0),
        track_bar_end=np.array([12, 18], dtype=np.int32),
    )
    assert [start for start, _ in valid_windows(own, 0, 4, 0.75, 1)] == [0, 1, 2]
    start, *_, status = draw(own, np.zeros(500, dtype=np.int64), window_keys(500), sizes=(4,))
    assert (status == 0).all()
    assert set(start.tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("track_offsets", lambda a: a + 10**9),
        ("track_offsets", lambda a: a[::-1].copy()),
        ("cell_offsets", lambda a: a * 1000),
        ("bar_offsets", lambda a: a - 5),
        ("track_cell_end", lambda a: a + 100_000),
        ("track_cell_end", lambda a: -a),
    ],
)
def test_damaged_columns_are_reported_and_never_followed(field, change):
    columns = columns_of([DENSE, SPARSE])
    damaged = attrs.evolve(columns, **{field: change(getattr(columns, field))})
    *_, status = draw(damaged, np.array([0, 1, 0, 1]), window_keys(4))
    assert (status == 2).any()


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_garbage_in_the_cells_stays_within_the_piece(seed):
    garbage = np.random.Generator(np.random.Philox(seed)).integers(-(2**31), 2**31, 44, dtype=np.int32)
    columns = columns_of([DENSE])
    damaged = attrs.evolve(columns, cell_bar=np.resize(garbage, len(columns.cell_bar)))
    start, bars, tracks, status = draw(damaged, np.zeros(50, dtype=np.int64), window_keys(50))
    drawn = status == 0
    assert (start[drawn] >= 0).all()
    assert (start[drawn] + bars[drawn] <= 14).all()
    assert (tracks < 4).all()


@pytest.mark.parametrize(
    "wrong",
    [{"sizes": ()}, {"sizes": (0,)}, {"sizes": (4, 4)}, {"min_tracks": 0}, {"min_tracks": 9}, {"ratio": 2.0}],
)
def test_rules_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"sizes|tracks|ratio"):
        draw(columns_of([DENSE]), np.zeros(1, dtype=np.int64), window_keys(1), **wrong)


def test_what_python_hands_in_is_checked():
    columns = columns_of([DENSE])
    keys = window_keys(1)
    for piece in (-1, 1, 2**40):
        with pytest.raises(IndexError, match="not in the corpus"):
            draw(columns, np.array([piece]), keys)
    with pytest.raises(TypeError, match="pieces must be"):
        draw(columns, np.zeros(1, dtype=np.int32), keys)
    with pytest.raises(TypeError, match="keys must be"):
        draw(columns, np.zeros(1, dtype=np.int64), keys.astype(np.int64))
    with pytest.raises(ValueError, match="differ in length"):
        draw(columns, np.zeros(2, dtype=np.int64), keys)
    for wrong in (
        {"sizes": ()},
        {"sizes": (0,)},
        {"sizes": (4, 4)},
        {"min_tracks": 0},
        {"min_tracks": 9},
        {"ratio": 2.0},
    ):
        with pytest.raises(ValueError, match=r"sizes|tracks|ratio"):
            draw(columns, np.zeros(1, dtype=np.int64), keys, **wrong)
    with pytest.raises(ValueError, match="cell_offsets has another shape"):
        draw(attrs.evolve(columns, cell_offsets=np.zeros(1, dtype=np.int64)), np.zeros(1, dtype=np.int64), keys)
