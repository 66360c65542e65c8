"""The bundled mask strategies: invariants over random shapes, distributions against the written formulas."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from midigpt_masking import mixed, plugin, random_bars, structured
from scipy.stats import chisquare

from midigpt_core.components import MaskSpec
from midigpt_core.contracts import MaskContext, MaskStrategy
from midigpt_core.keys import Stage, derive

STRATEGIES: dict[str, MaskStrategy] = {
    "random": random_bars.build(random_bars.RandomOptions(), MaskContext()),
    "structured": structured.build(structured.StructuredOptions(), MaskContext()),
    "mixed": mixed.build(mixed.MixedOptions(), MaskContext()),
}
DRAWS = 20_000
each_strategy = pytest.mark.parametrize("name", sorted(STRATEGIES))


def window_keys(count: int, seed: int = 11) -> np.ndarray:
    return derive(seed, Stage.MASK, np.arange(count))


@st.composite
def windows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows of different sizes in one batch: valid, infill, keys."""
    count, tracks, bars = draw(st.integers(0, 6)), draw(st.integers(0, 5)), draw(st.integers(0, 9))
    own_tracks = draw(npst.arrays(np.int64, count, elements=st.integers(0, tracks)))
    own_bars = draw(npst.arrays(np.int64, count, elements=st.integers(0, bars)))
    valid = (np.arange(tracks)[None, :, None] < own_tracks[:, None, None]) & (
        np.arange(bars)[None, None, :] < own_bars[:, None, None]
    )
    infill = draw(npst.arrays(np.bool_, valid.shape)) & valid
    keys = draw(npst.arrays(np.uint64, count, elements=st.integers(0, 2**64 - 1)))
    return valid, infill, keys


@each_strategy
@given(windows(), st.integers(0, 3), st.integers(0, 3), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_same_key_same_mask_whatever_else_stands_in_the_batch(name, batch, more_tracks, more_bars, shuffler):
    valid, infill, keys = batch
    strategy = STRATEGIES[name]
    masked = strategy.mask(valid, infill, keys)

    assert masked.shape == valid.shape
    assert masked.dtype == np.bool_
    assert not (masked & ~valid).any()
    assert not (masked & infill).any()

    wider = [(0, 0), (0, more_tracks), (0, more_bars)]
    padded = strategy.mask(np.pad(valid, wider), np.pad(infill, wider), keys)
    np.testing.assert_array_equal(padded, np.pad(masked, wider))

    order = list(range(len(keys)))
    shuffler.shuffle(order)
    order = np.array(order, dtype=np.int64)[: len(order) // 2 + 1]
    np.testing.assert_array_equal(strategy.mask(valid[order], infill[order], keys[order]), masked[order])


def test_random_hides_a_uniform_number_of_bars():
    valid = np.ones((DRAWS, 3, 8), dtype=np.bool_)
    infill = np.zeros_like(valid)
    infill[:, 0, :3] = True  # 21 eligible bars: 1 .. 5 are masked
    masked = STRATEGIES["random"].mask(valid, infill, window_keys(DRAWS))
    counts = np.bincount(masked.sum(axis=(1, 2)), minlength=7)
    assert counts[0] == counts[6] == 0
    assert chisquare(counts[1:6]).pvalue > 0.01


def test_random_hides_every_set_of_bars_equally_often():
    valid = np.ones((DRAWS, 2, 4), dtype=np.bool_)
    infill = np.zeros_like(valid)
    infill[:, 1, 1] = infill[:, 0, 3] = True  # 6 eligible bars, half of them at most: sets of 1, 2 or 3
    options = random_bars.RandomOptions(bar_fraction=0.5)
    masked = random_bars.build(options, MaskContext()).mask(valid, infill, window_keys(DRAWS))
    eligible = np.flatnonzero(~infill[0])
    sets = Counter(tuple(np.flatnonzero(window)) for window in masked.reshape(DRAWS, -1))
    for size in (1, 2, 3):
        of_size = [sets.pop(chosen, 0) for chosen in combinations(eligible.tolist(), size)]
        assert chisquare(of_size).pvalue > 0.01
    assert not sets


@pytest.mark.parametrize(("eligible", "most"), [(0, 0), (1, 1), (3, 1), (7, 1), (8, 2), (24, 6)])
def test_random_limits(eligible, most):
    valid = np.ones((500, 3, 8), dtype=np.bool_)
    infill = np.ones_like(valid)
    infill.reshape(500, -1)[:, :eligible] = False
    counts = STRATEGIES["random"].mask(valid, infill, window_keys(500)).sum(axis=(1, 2))
    assert counts.min() == min(1, eligible)
    assert counts.max() == most


def structured_probabilities(bars: int, lookahead: int) -> dict[tuple[int, int], float]:
    """Probability of each masked run (first, last) of a track that takes part: docs/encoder-specification.md, G.4."""
    runs: Counter[tuple[int, int]] = Counter()
    for t in range(bars - 1):
        for k in range(1, lookahead + 1):
            runs[t + 1, min(t + k, bars - 1)] += 1
    total = sum(runs.values())
    return {run: count / total for run, count in runs.items()}


@pytest.mark.parametrize(("bars", "lookahead"), [(4, 4), (8, 4), (8, 1), (2, 3)])
def test_structured_hides_what_follows_a_uniform_point(bars, lookahead):
    valid = np.ones((DRAWS, 1, bars), dtype=np.bool_)
    strategy = structured.build(structured.StructuredOptions(max_lookahead=lookahead), MaskContext())
    masked = strategy.mask(valid, np.zeros_like(valid), window_keys(DRAWS))[:, 0]
    taking_part = masked[masked.any(axis=1)]
    left_out = DRAWS - len(taking_part)
    assert chisquare([left_out, DRAWS - left_out], [DRAWS * 0.25, DRAWS * 0.75]).pvalue > 0.01

    first, last = np.argmax(taking_part, axis=1), bars - 1 - np.argmax(taking_part[:, ::-1], axis=1)
    assert (taking_part.sum(axis=1) == last - first + 1).all()
    seen = Counter(zip(first.tolist(), last.tolist(), strict=True))
    expected = structured_probabilities(bars, lookahead)
    assert set(seen) <= set(expected)
    if len(expected) > 1:
        frequencies = [len(taking_part) * p for p in expected.values()]
        assert chisquare([seen[run] for run in expected], frequencies).pvalue > 0.01


def test_structured_leaves_tracks_out_independently_and_hides_the_same_bars_in_the_others():
    valid = np.ones((DRAWS, 3, 8), dtype=np.bool_)
    masked = STRATEGIES["structured"].mask(valid, np.zeros_like(valid), window_keys(DRAWS))
    taking_part = masked.any(axis=2)
    union = masked.any(axis=1)
    assert (masked == (union[:, None, :] & taking_part[:, :, None])).all()
    patterns = np.bincount(taking_part @ np.array([1, 2, 4]), minlength=8)
    expected = [DRAWS * 0.75 ** bin(p).count("1") * 0.25 ** (3 - bin(p).count("1")) for p in range(8)]
    assert chisquare(patterns, expected).pvalue > 0.01


def test_structured_hides_nothing_in_a_window_of_one_bar():
    valid = np.zeros((100, 2, 6), dtype=np.bool_)
    valid[:, :, 0] = True
    assert not STRATEGIES["structured"].mask(valid, np.zeros_like(valid), window_keys(100)).any()


def test_mixed_is_either_strategy_evenly():
    valid = np.ones((DRAWS, 3, 8), dtype=np.bool_)
    infill = np.zeros_like(valid)
    keys = window_keys(DRAWS)
    masked = {name: strategy.mask(valid, infill, keys) for name, strategy in STRATEGIES.items()}
    as_random = (masked["mixed"] == masked["random"]).all(axis=(1, 2))
    as_structured = (masked["mixed"] == masked["structured"]).all(axis=(1, 2))
    assert (as_random | as_structured).all()
    only_random, only_structured = (as_random & ~as_structured).sum(), (as_structured & ~as_random).sum()
    assert chisquare([only_random, only_structured]).pvalue > 0.01


@pytest.mark.parametrize(
    "make",
    [
        lambda: random_bars.RandomOptions(bar_fraction=0.0),
        lambda: random_bars.RandomOptions(bar_fraction=1.5),
        lambda: structured.StructuredOptions(max_lookahead=0),
        lambda: mixed.MixedOptions(bar_fraction=-0.1),
        lambda: mixed.MixedOptions(max_lookahead=-1),
    ],
)
def test_options_out_of_range_are_refused(make):
    with pytest.raises(ValueError, match=r"bar_fraction|max_lookahead"):
        make()


def test_records_name_what_they_build():
    specs = {spec.name: spec for spec in plugin.midigpt_masks()}
    assert set(specs) == set(STRATEGIES)
    modules = {"random_bars": random_bars, "structured": structured, "mixed": mixed}
    for name, spec in specs.items():
        assert isinstance(spec, MaskSpec)
        module, factory = spec.target.rsplit(".", 1)[1].split(":")
        options_class = getattr(modules[module], spec.options.split(":")[1])
        assert attrs.has(options_class)
        built = getattr(modules[module], factory)(options_class(), MaskContext())
        assert built == STRATEGIES[name]
