"""Prompts of one step cost the same however many candidates there are."""

from __future__ import annotations

from typing import Any

import numpy as np

from midigpt_core.inference import GenerationRequest, InferenceConfig, TrackPrompt
from midigpt_core.inference.planner import Step
from midigpt_core.inference.prompts import Job, Prompter
from midigpt_core.testing import music
from support.inference import engine


class OnlySome(list[Any]):
    """Scores of which the others must not even be looked at."""

    def __init__(self, scores: list[Any], of_use: set[int]) -> None:
        super().__init__(scores)
        self._of_use = of_use

    def __getitem__(self, index: Any) -> Any:
        assert index in self._of_use
        return super().__getitem__(index)

    def __iter__(self) -> Any:
        raise AssertionError("all scores are looked at")


def test_scores_that_no_job_is_about_are_not_touched() -> None:
    first, second = music.scores()[:2]
    request = GenerationRequest([TrackPrompt(id=0, bars=range(2))], InferenceConfig(window_bars=4))
    prompter = Prompter(engine().encoder, request)
    step = Step(start_bar=0, num_bars=4, autoregressive=False, cells=((0, 0), (0, 1)))

    def job(score: int) -> Job:
        tracks = len((first, second)[score % 2].tracks)
        return Job(step=step, score=score, tracks=tuple(range(tracks)), masked=np.zeros((tracks, 8), np.bool_))

    expected = prompter.prompts([first, second], [job(1), job(0)])
    many = OnlySome([first, second] * 200, {100, 301})
    found = prompter.prompts(many, [job(301), job(100)])
    assert np.array_equal(found.batch.tokens, expected.batch.tokens)
    assert np.array_equal(found.batch.offsets, expected.batch.offsets)
    assert np.array_equal(found.cells, expected.cells)
    alone = prompter.prompts([first], [job(0)]).batch.tokens
    assert np.array_equal(prompter.prompts(many, [job(100)]).batch.tokens, alone)
