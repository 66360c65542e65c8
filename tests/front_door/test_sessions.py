"""Sessions on a ``midigpt.Score``, as scripts of midigpt 0.4.2 use them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from midigpt import Score
from midigpt.inference import (
    GenerationCancelled,
    GenerationRequest,
    InferenceConfig,
    InferenceEngine,
    ScoreSession,
    TrackPrompt,
)

from midigpt_core.errors import ConfigError
from midigpt_core.inference.devices import device_named
from support.inference import engine as core_engine

PATH = Path(__file__).parents[1] / "data" / "midi" / "mutopia_mozart_kv525_1.mid"


def opened(*bars: int, **config: Any) -> ScoreSession:
    of_core = core_engine()
    engine = InferenceEngine(of_core.model, of_core.encoder)
    score = Score.from_midi(PATH)
    prompts = [TrackPrompt(id=0, bars=list(bars)), *(TrackPrompt(id=n, bars=[]) for n in range(1, len(score.tracks)))]
    settings = {"seed": 1, "model_dim": 4, "bars_per_step": 1, "tracks_per_step": 1, **config}
    return engine.session(score, GenerationRequest(tracks=prompts, config=InferenceConfig(**settings)))


def test_a_score_comes_back_with_its_new_bars_and_its_file(tmp_path: Path) -> None:
    session = opened(1, 2)
    made = session.run()
    before = Score.from_midi(PATH)
    for index, (new, old) in enumerate(zip(made.tracks, before.tracks, strict=True)):
        for number, (bar, was) in enumerate(zip(new.bars, old.bars, strict=True)):
            assert (bar == was) == ((index, number) not in {(0, 1), (0, 2)})
    assert made.to_midi(tmp_path / "made.mid") == ()
    again = Score.from_midi(tmp_path / "made.mid").tracks[0].bars[1].notes
    assert {(note.pitch, note.onset_ticks) for note in again} == {
        (note.pitch, note.onset_ticks) for note in made.tracks[0].bars[1].notes
    }
    assert (session.resolved_seed, session.generated_bars, session.dropped_context) == (1, {0: [1, 2]}, [])
    assert session.gen_count > 0
    assert session.model_forward_time > 0
    assert min(session.encode_time, session.decode_time) > 0
    assert [step["generate"] for step in session.plan_summary()] == [{"0": [1]}, {"0": [2]}]


def test_notes_and_progress_reach_their_sinks() -> None:
    session = opened(1, 2, 3, 4)
    notes: list[dict[str, int]] = []
    told: list[dict[str, Any]] = []
    session.note_sink = notes.extend
    session.progress_sink = told.append
    made = session.run()
    assert session.attempt == 1, "choose another seed: notes of a failed attempt are void"
    written = [
        {"track": 0, "bar": number, "pitch": one.pitch, "onset_ticks": one.onset_ticks,
         "duration_ticks": one.duration_ticks, "velocity": one.velocity}
        for number in (1, 2, 3, 4) for one in made.tracks[0].bars[number].notes
    ]  # fmt: skip
    assert notes == written
    assert list(told[-1]) == [
        "generated_tokens", "step_generated_tokens", "context_tokens", "max_context_tokens", "model_forward_s",
        "attempt",
    ]  # fmt: skip
    counts = [one["generated_tokens"] for one in told]
    assert counts == sorted(counts)
    assert made == opened(1, 2, 3, 4).run(), "watched or not, the same music"


def test_candidates_carry_their_seeds() -> None:
    session = opened(2, num_candidates=3)
    made = session.run_variations()
    assert [one["seed"] for one in made] == [1, 2, 3]
    assert [(one["error"], one["truncated"]) for one in made] == [(None, False)] * 3
    assert sum(one["gen_count"] for one in made) == session.gen_count
    for one in made:
        alone = opened(2, seed=one["seed"])
        assert alone.run() == one["score"]
        assert alone.gen_count == one["gen_count"]


def test_an_event_ends_a_run_and_keeps_the_complete_bars() -> None:
    session = opened(*range(30))
    session.cancel_event = threading.Event()

    def heard(notes: list[dict[str, int]]) -> None:
        if notes[-1]["bar"] >= 3 and session.cancel_event is not None:
            session.cancel_event.set()

    session.note_sink = heard
    with pytest.raises(GenerationCancelled, match="cancelled") as raised:
        session.run()
    before = Score.from_midi(PATH)
    partial = raised.value.partial
    assert raised.value.gen_count == session.gen_count > 0
    assert partial.tracks[0].bars[2] != before.tracks[0].bars[2]
    assert partial.tracks[0].bars[29] == before.tracks[0].bars[29]
    assert session.cancel_event.is_set(), "an event of the caller is not cleared"


def test_an_event_that_is_set_ends_candidates_before_the_first_token() -> None:
    session = opened(2, num_candidates=2)
    session.cancel_event = threading.Event()
    session.cancel_event.set()
    with pytest.raises(GenerationCancelled) as raised:
        session.run_variations()
    assert raised.value.partial == Score.from_midi(PATH)


def test_devices_by_their_names(tmp_path: Path) -> None:
    assert device_named("auto") == torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert device_named("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="device 'tpu9' is unknown"):
        device_named("tpu9")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"device 'cuda' is not available\. Choose one of cpu, auto\."):
            device_named("cuda")
