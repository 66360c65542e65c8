"""The distribution over (bars, start, tracks, cells to fill in) as docs/sampling.md writes it down, all at once."""

from __future__ import annotations

from itertools import combinations, permutations, product
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.windows import WindowDrawer
from midigpt_core.keys import Stage, derive
from support.windows import EchoEncoder, EchoOptions, Piece, corpus_of

DRAWS = 300_000
#: Seven bars; which tracks are good differs from start to start, and between windows of two and of three.
PIECE: Piece = (7, [[0, 1, 2, 3], [1, 2, 4, 6], [0, 2, 3, 5]])
SETTINGS = StreamSettings(
    num_bars_choices=(2, 3),
    min_tracks=1,
    max_tracks=2,
    min_fill_ratio=0.6,
    infill_probability=0.6,
    infill_bar_fraction=0.8,
    infill_track_probability=0.3,
    mask_apply_probability=0.0,
)

#: Number of bars, first bar, tracks in their order, cells to fill in.
Outcome = tuple[int, int, tuple[int, ...], frozenset[tuple[int, int]]]


def defined(piece: Piece, settings: StreamSettings) -> dict[Outcome, float]:
    """The probability of every outcome: the sentences of "One draw" one after another."""
    bars, tracks = piece
    windows: dict[int, list[tuple[int, list[int]]]] = {}
    for n in settings.num_bars_choices:
        need = max(1, int(np.ceil(settings.min_fill_ratio * n)))
        for s in range(bars - n + 1):
            good = [t for t, held in enumerate(tracks) if sum(s <= bar < s + n for bar in held) >= need]
            if len(good) >= settings.min_tracks:
                windows.setdefault(n, []).append((s, good))
    chances: dict[Outcome, float] = {}
    for n, starts in windows.items():
        for s, good in starts:
            counts = range(settings.min_tracks, min(settings.max_tracks, len(good)) + 1)
            for m in counts:
                orders = list(permutations(good, m))
                chance = 1 / len(windows) / len(starts) / len(counts) / len(orders)
                for order in orders:
                    for cells, share in filled(m, n, settings).items():
                        chances[n, s, order, cells] = chance * share
    return chances


def filled(num_tracks: int, num_bars: int, settings: StreamSettings) -> dict[frozenset[tuple[int, int]], float]:
    """The probability of every set of cells to fill in."""
    cells = list(product(range(num_tracks), range(num_bars)))
    # The density is uniform; midpoints of many strips stand for the integral.
    density = (np.arange(20_000) + 0.5) / 20_000 * settings.infill_bar_fraction
    shares = {frozenset[tuple[int, int]](): 1 - settings.infill_probability}
    for size in range(1, len(cells) + 1):
        share = float(np.mean(density**size * (1 - density) ** (len(cells) - size)))
        if size == 1:  # if no cell comes up, one is taken
            share += float(np.mean((1 - density) ** len(cells))) / len(cells)
        for chosen in combinations(cells, size):
            whole = len({track for track, _ in chosen}) == 1 and size == num_bars
            by_track = settings.infill_track_probability
            of_either = (1 - by_track) * share + by_track * whole / num_tracks
            shares[frozenset(chosen)] = settings.infill_probability * of_either
    assert len(shares) == sum(comb(len(cells), size) for size in range(len(cells) + 1))
    return shares


def drawn(seed: int) -> dict[Outcome, int]:
    drawer = WindowDrawer(corpus_of([PIECE]), EchoEncoder(EchoOptions()), None, SETTINGS)
    keys = derive(seed, Stage.DRAW, np.arange(DRAWS))
    found = drawer.draw(keys, np.zeros(DRAWS, dtype=np.int64))
    windows = found.windows
    assert len(found.draw) == DRAWS
    codes = np.concatenate(
        [
            windows.num_bars[:, None],
            windows.start_bar[:, None],
            windows.tracks,
            windows.infill.reshape(DRAWS, -1).astype(np.int32),
        ],
        axis=1,
    )
    shape = windows.infill.shape[1:]
    counts: dict[Outcome, int] = {}
    for code, count in zip(*np.unique(codes, axis=0, return_counts=True), strict=True):
        num_bars, start = int(code[0]), int(code[1])
        tracks = tuple(int(track) for track in code[2 : 2 + shape[0]] if track >= 0)
        cells = np.argwhere(code[2 + shape[0] :].reshape(shape))
        counts[num_bars, start, tracks, frozenset((int(t), int(b)) for t, b in cells)] = int(count)
    return counts


@pytest.mark.parametrize("seed", [1, 2])
def test_outcomes_come_up_as_often_as_defined(seed: int) -> None:
    chances, counts = defined(PIECE, SETTINGS), drawn(seed)
    assert sum(chances.values()) == pytest.approx(1)
    assert set(counts) <= set(chances)
    expected = {outcome: chance * DRAWS for outcome, chance in chances.items()}
    common = [outcome for outcome in chances if expected[outcome] >= 10]
    rare = [outcome for outcome in chances if expected[outcome] < 10]
    observed = [counts.get(outcome, 0) for outcome in common] + [sum(counts.get(outcome, 0) for outcome in rare)]
    wanted = [expected[outcome] for outcome in common] + [sum(expected[outcome] for outcome in rare)]
    if not rare:
        observed, wanted = observed[:-1], wanted[:-1]
    assert len(common) > 200
    assert chisquare(observed, wanted, sum_check=False).pvalue > 0.01


def test_a_wrong_definition_would_be_detected() -> None:
    """The recipe's own way, always as many tracks as possible, is far from what is drawn."""
    counts, chances = drawn(1), defined(PIECE, SETTINGS)
    pairs = [outcome for outcome in chances if len(outcome[2]) == 2]
    share = sum(counts.get(outcome, 0) for outcome in pairs) / DRAWS
    assert share == pytest.approx(sum(chances[outcome] for outcome in pairs), abs=0.01)
    assert share < 0.5
