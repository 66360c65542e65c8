"""Sessions in several threads read in one batch, and each gives the music that it gives alone."""

from __future__ import annotations

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.inference.batching import SharedReader
from midigpt_core.testing import music
from support.inference import engine

if TYPE_CHECKING:
    from midigpt_core.score import Score

_THREADS = 8


def shared(preset: str = "yellow") -> tuple[InferenceEngine, SharedReader]:
    """An engine of its own: the others are not to share."""
    made = copy.copy(engine(preset))
    made._reader = None
    return made, made.share_reader()


def request(seed: int) -> GenerationRequest:
    """Of many kinds: one or several bars, candidates, attempts that fail, from left to right."""
    bars = list(range(seed % 3, seed % 3 + 1 + seed % 4))
    config = InferenceConfig(
        seed=seed, temperature=0.8 + seed / 10, model_dim=4, bars_per_step=1, num_candidates=1 + seed % 2,
        max_attempts=2, novelty_threshold=0.01 if seed % 3 == 0 else 1.0, density_hard_limit=6,
    )  # fmt: skip
    return GenerationRequest([TrackPrompt(id=0, bars=bars, autoregressive=seed % 5 == 0)], config)


def generated(of: InferenceEngine, seed: int) -> list[dict[str, Any]]:
    score: Score = music.scores()[0]
    return [made.to_dict() for made in of.session(score, request(seed)).run_variations()]


class _Together:
    """Makes ``reader`` read only when each running session has arrived: the batches do not depend on the machine."""

    def __init__(self, reader: SharedReader) -> None:
        self._reader = reader
        self._read = reader._carry_out
        self._running = 0
        self._changed = threading.Lock()
        reader._carry_out = self._read_all  # type: ignore[method-assign]

    def generated(self, of: InferenceEngine, seed: int) -> list[dict[str, Any]]:
        with self._changed:
            self._running += 1
        try:
            return generated(of, seed)
        finally:
            with self._changed:
                self._running -= 1

    def _read_all(self, steps: list[Any]) -> None:
        # The steps that arrive during this read are read next, in one batch.
        while len(steps) + len(self._reader._waiting) < self._running:
            time.sleep(0.0001)
        self._read(steps)


@pytest.mark.parametrize("preset", ["yellow", "expressive"])
def test_each_session_gives_the_music_that_it_gives_alone(preset: str) -> None:
    alone = [generated(engine(preset), seed) for seed in range(2 * _THREADS)]
    together, reader = shared(preset)
    met = _Together(reader)
    with ThreadPoolExecutor(_THREADS) as pool:
        assert list(pool.map(lambda seed: met.generated(together, seed), range(2 * _THREADS))) == alone
    assert reader.steps > 2 * reader.batches, "they were not read together"


def test_one_session_waits_for_nobody() -> None:
    together, reader = shared()
    assert generated(together, 1) == generated(engine(), 1)
    assert reader.steps == reader.batches


def test_a_wrong_step_ends_its_own_session_alone() -> None:
    together, reader = shared()
    vocabulary = together.encoder.vocab_size
    failed: list[str] = []

    def wrong() -> None:
        sequences = reader.open(1, 64)
        logits = np.zeros((1, vocabulary), np.float32)
        for _ in range(200):
            try:
                sequences.step(np.array([vocabulary], np.int32), np.zeros(1, np.int32), np.array([0, 1]), logits)
            except ValueError as error:
                failed.append(str(error))

    thread = threading.Thread(target=wrong)
    thread.start()
    made = [generated(together, seed) for seed in range(4)]
    thread.join()
    assert made == [generated(engine(), seed) for seed in range(4)]
    assert len(failed) == 200
    assert all("outside the vocabulary" in text for text in failed)


def test_an_architecture_without_a_batch_is_read_one_step_after_another() -> None:
    class Plain:
        """A reader without ``batch``."""

        def __init__(self, reader: Any) -> None:
            self.open = reader.open

    together, _ = shared()
    together._reader = SharedReader(Plain(engine().reader()))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda seed: generated(together, seed), range(4)))
    assert made == [generated(engine(), seed) for seed in range(4)]
