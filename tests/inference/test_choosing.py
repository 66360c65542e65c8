"""The sampler: filters as documented, numbers as midigpt_core.keys draws them."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from midigpt_core import keys
from midigpt_core._native import TokenSampler

PROBABILITIES = np.array([0.4, 0.05, 0.3, 0.15, 0.1])
LOGITS = np.log(PROBABILITIES).astype(np.float32)


def draw(count: int = 4000, allowed: list[int] | None = None, temperature: float = 1.0, **filters: Any) -> list[int]:
    flags = np.zeros((count, 5), bool)
    flags[:, allowed if allowed is not None else list(range(5))] = True
    out = np.zeros(count, np.int32)
    TokenSampler(**filters).choose(
        np.tile(LOGITS, count),
        flags.reshape(-1),
        np.full(count, temperature),
        keys.derive(3, keys.Stage.DRAW, np.arange(count)),
        0,
        out,
    )
    return np.bincount(out, minlength=5).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_their_probability_says(temperature: float) -> None:
    expected = PROBABILITIES ** (1 / temperature)
    assert chisquare(draw(temperature=temperature), expected / expected.sum() * 4000).pvalue > 1e-3


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        ({"top_k": 2}, [0, 2]),
        ({"top_p": 0.7}, [0, 2]),
        ({"top_p": 0.71}, [0, 2, 3]),
        ({"mask_k": 1}, [1, 2, 3, 4]),
        ({"mask_k": 9}, [1]),
        ({"mask_p": 0.39}, [1, 2, 3, 4]),
        ({"mask_p": 0.41}, [1, 3, 4]),
        ({"top_k": 3, "mask_k": 1}, [2, 3]),
        ({"top_k": 3, "top_p": 0.4, "mask_k": 1}, [0]),
    ],
)
def test_filters_keep_what_they_say(filters: dict[str, Any], kept: list[int]) -> None:
    counts = draw(**filters)
    assert [token for token, count in enumerate(counts) if count] == kept
    share = PROBABILITIES[kept] / PROBABILITIES[kept].sum()
    if len(kept) > 1:
        assert chisquare([counts[token] for token in kept], share * 4000).pvalue > 1e-3


def test_what_is_not_allowed_never_comes() -> None:
    counts = draw(allowed=[1, 3])
    assert sum(counts) == counts[1] + counts[3]
    assert draw(allowed=[4], mask_k=2)[4] == 4000
    out = np.zeros(1, np.int32)
    TokenSampler().choose(LOGITS, np.zeros(5, bool), np.ones(1), np.ones(1, np.uint64), 0, out)
    assert out[0] == -1


TYPES = np.array([0, 0, 1, 1, 0], np.uint8)


def draw_weighed(weights: list[float], temperature: float = 1.0, count: int = 8000, **filters: Any) -> list[int]:
    out = np.zeros(count, np.int32)
    TokenSampler(**filters).choose(
        np.tile(LOGITS, count),
        np.ones(count * 5, bool),
        np.full(count, float(temperature)),
        keys.derive(4, keys.Stage.DRAW, np.arange(count)),
        0,
        out,
        np.tile(np.array(weights, np.float64), count),
        TYPES,
    )
    return np.bincount(out, minlength=5).tolist()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "weights", [[1, 2, 0.1, 1, 0.5], [0, 1, 3, 0, 0], [1, 1, 1, 1, 1], [1e-30, 1e-30, 1, 1e-300, 1e-30]]
)
def test_weights_act_within_a_type_and_leave_its_probability(weights: list[float], temperature: float) -> None:
    """p'(v) = m p(v) w(v) / sum(p w), where m is the sum of p over the type."""
    p = PROBABILITIES ** (1 / temperature)
    p /= p.sum()
    expected = np.zeros(5)
    for kind in (0, 1):
        of_kind = kind == TYPES
        weighed = (p * weights)[of_kind]
        expected[of_kind] = p[of_kind].sum() * weighed / weighed.sum()
    counts = np.array(draw_weighed(weights, temperature))
    likely = expected > 1e-9
    assert not counts[~likely].any()
    assert chisquare(counts[likely], expected[likely] * counts.sum()).pvalue > 1e-3
    masses = [counts[kind == TYPES].sum() for kind in (0, 1)]
    assert chisquare(masses, [p[kind == TYPES].sum() * counts.sum() for kind in (0, 1)]).pvalue > 1e-3


def test_weights_of_all_that_is_allowed_may_be_0_and_filters_come_after_them() -> None:
    assert draw_weighed([0, 0, 1, 1, 0])[0] > 0, "where all have weight 0, they keep their shares"
    counts = draw_weighed([0.001, 1, 0.001, 1, 0.001], top_k=2)
    assert [token for token, count in enumerate(counts) if count] == [1, 3]
    # Without chance: of the most probable type, the most probable token that has a weight.
    assert draw_weighed([0, 1, 1, 1, 1], temperature=0)[4] == 8000
    assert draw_weighed([0.01, 1, 1, 1, 1], temperature=0)[0] == 8000


def test_numbers_are_those_of_the_key() -> None:
    key = keys.derive(9, keys.Stage.DRAW, np.arange(3))
    for counter in range(4):
        out = np.zeros(3, np.int32)
        TokenSampler().choose(np.zeros(3000, np.float32), np.ones(3000, bool), np.ones(3), key, counter, out)
        assert out.tolist() == keys.below(keys.uniforms(key, counter + 1)[:, counter], 1000).tolist()


def test_wrong_callers_and_broken_models_are_told() -> None:
    arguments = [LOGITS, np.ones(5, bool), np.ones(1), np.ones(1, np.uint64), 0, np.zeros(1, np.int32)]
    broken = [np.full(5, np.nan, np.float32), *arguments[1:]]
    with pytest.raises(ValueError, match="row 0 has a logit that is not finite"):
        TokenSampler().choose(*broken)
    with pytest.raises(ValueError, match="n rows of one length"):
        TokenSampler().choose(arguments[0], np.ones(4, bool), *arguments[2:])
    with pytest.raises(TypeError, match="logits must be one contiguous run"):
        TokenSampler().choose(LOGITS.astype(np.float64), *arguments[1:])
    with pytest.raises(ValueError, match="belong together"):
        TokenSampler().choose(*arguments, np.ones(5))
    with pytest.raises(ValueError, match="weights must be n rows"):
        TokenSampler().choose(*arguments, np.ones(4), np.zeros(5, np.uint8))
    for value in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="weights must be finite and at least 0"):
            TokenSampler().choose(*arguments, np.full(5, value), np.zeros(5, np.uint8))
    with pytest.raises(ValueError, match="temperatures must be numbers"):
        TokenSampler().choose(LOGITS, arguments[1], np.full(1, np.nan), *arguments[3:])
    for wrong in ({"top_k": -1}, {"mask_k": -1}, {"top_p": np.nan}, {"mask_p": np.nan}):
        with pytest.raises(ValueError, match="must be"):
            TokenSampler(**wrong)


def test_two_threads_cannot_use_one_sampler() -> None:
    rows, size = 400, 2000
    arguments = [np.zeros(rows * size, np.float32), np.ones(rows * size, bool), np.ones(rows)]
    sampler, refused = TokenSampler(top_p=0.5), []

    def use(barrier: threading.Barrier) -> None:
        barrier.wait()
        try:
            sampler.choose(*arguments, np.ones(rows, np.uint64), 0, np.zeros(rows, np.int32))
        except RuntimeError as error:
            refused.append(str(error))

    for _ in range(50):
        barrier = threading.Barrier(2)
        threads = [threading.Thread(target=use, args=(barrier,)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if refused:
            break
    assert set(refused) == {"TokenSampler: another thread is using it. Make one for each thread."}
