"""Sessions that run together generate what each generates alone, note for note."""

from __future__ import annotations

import pytest

from midigpt_core.inference import GenerationRequest, InferenceConfig, SamplingSession, TrackPrompt
from midigpt_core.inference.session import run_together
from midigpt_core.score.editing import excerpt, with_bars
from midigpt_core.testing import music
from support.inference import engine

FIRST, SECOND = music.scores()


def sessions(**config: object) -> list[SamplingSession]:
    """Windows, tracks, signatures and numbers of steps differ; so does whether bars are filled in."""
    asked = [
        (FIRST, TrackPrompt(id=1, bars=[2, 3])),
        (SECOND, TrackPrompt(id=2, bars=range(8), autoregressive=True)),
        (with_bars(FIRST, 16), TrackPrompt(id=0, bars=range(4, 12), autoregressive=True)),
        (excerpt(SECOND, 0, 4, [0, 2]), TrackPrompt(id=0, bars=range(4), attributes={"max_polyphony": 2})),
    ]
    return [
        engine().session(
            score, GenerationRequest([prompt], InferenceConfig(seed=seed, **{"max_attempts": 1, **config}))
        )
        for seed, (score, prompt) in enumerate(asked)
    ]


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_it_is_what_each_session_generates_alone(temperature: float) -> None:
    alone = sessions(temperature=temperature, density_hard_limit=6)
    expected = [session.run() for session in alone]
    together = sessions(temperature=temperature, density_hard_limit=6)
    made = run_together(together)
    assert [score.to_dict() for score in made] == [score.to_dict() for score in expected]
    assert [session.generated_bars for session in together] == [session.generated_bars for session in alone]
    assert not any(session.cancelled for session in together)
    assert any(len(session.plan) > 1 for session in together)


def test_a_stop_cancels_all_of_them() -> None:
    calls: list[int] = []

    def go_on() -> bool:
        calls.append(1)
        return len(calls) < 20

    stopped = sessions()
    run_together(stopped, go_on)
    assert all(session.cancelled for session in stopped)
    assert len(calls) < 25


def test_sessions_that_cannot_share_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="one attempt"):
        run_together(sessions(max_attempts=2))
    with pytest.raises(ValueError, match="the same sampler"):
        run_together([*sessions(), *sessions(top_k=3)])
    assert run_together([]) == []
