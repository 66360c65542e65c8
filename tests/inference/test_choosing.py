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
