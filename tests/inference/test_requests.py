"""Requests: plain values in, everything that is wrong out, at once and before anything is sampled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.errors import ConfigError
from midigpt_core.inference import (
    GenerationRequest,
    InferenceConfig,
    RequestValidationError,
    TrackPrompt,
)
from midigpt_core.inference.trained import TrainedWindows, trained_windows
from midigpt_core.inference.validation import check, problems
from midigpt_core.score import Score
from midigpt_core.testing import music

SCORE = music.scores()[0]  # two melodic tracks and drums, eight bars


def encoder(preset: str = "yellow", **changes: Any) -> MidigptEncoder:
    config = EncoderConfig.from_preset(preset).to_dict() | changes
    return MidigptEncoder(EncoderConfig.from_mapping(config))


YELLOW = encoder()
EXPRESSIVE = encoder("expressive")
ANY = trained_windows(YELLOW, {})


def found(
    *tracks: TrackPrompt,
    on: MidigptEncoder = YELLOW,
    score: Score = SCORE,
    trained: TrainedWindows | None = None,
    **config: Any,
) -> list[str]:
    request = GenerationRequest(tracks, InferenceConfig(**config))
    return problems(request, score, on, trained or trained_windows(on, {}))


def test_a_good_request_has_no_problems() -> None:
    assert found(TrackPrompt(id=0, bars=range(2, 6)), TrackPrompt(id=1, ignore=True), window_bars=8) == []
    assert found(TrackPrompt(id=1, bars=[7], autoregressive=True, attributes={"max_polyphony": 3})) == []


def test_integers_of_numpy_are_integers() -> None:
    prompt = TrackPrompt(id=np.int64(1), bars=np.arange(2), mask_bars={np.uint8(3)})  # type: ignore[arg-type]
    config = InferenceConfig(seed=np.int64(3), top_k=np.int32(5), num_candidates=np.uint8(2))  # type: ignore[arg-type]
    assert prompt == TrackPrompt(id=1, bars=[0, 1], mask_bars=[3])
    assert config == InferenceConfig(seed=3, top_k=5, num_candidates=2)
    assert {type(value) for value in (prompt.id, config.seed, config.top_k)} == {int}


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ({"id": 3}, "track 3: there is no such track"),
        ({"id": 0, "bars": [0, 9, 8]}, "track 0: bars 8-9: out of range. Bars are 0 to 7"),
        ({"id": 0, "mask_bars": [-1]}, "mask_bars -1: out of range"),
        ({"id": 0, "bars": [1], "mask_bars": [1]}, "bars 1 are to be written and masked at once"),
        ({"id": 0, "bars": [1], "ignore": True}, "track 0: ignored, although bars of it are to be written"),
        ({"id": 0, "bars": [1], "attributes": {"max_polyfony": 1}}, "Did you mean 'max_polyphony'"),
        ({"id": 0, "bars": [1], "attributes": {"note_density": 1}}, "does not apply to a melodic track"),
        ({"id": 2, "bars": [1], "attributes": {"note_density": 10}}, "note_density is 10. Levels are 0 to 9"),
        ({"id": 0, "bars": [1], "bar_attributes": {1: {"swing": 1}}}, r"bar_attributes\[1\].swing: the encoder has no"),
        ({"id": 0, "bars": [1], "controls": {"time_signature": "5/3"}}, "cannot write '5/3'"),
        ({"id": 0, "bars": [1], "controls": {"time_signature": 99}}, "cannot write 99"),
        ({"id": 0, "bars": [1], "controls": {"time_signature": "3/4"}}, "track 1 has notes in bars 1 under another"),
        ({"id": 0, "bars": [1], "controls": {"time_sig": 0}}, "Did you mean 'time_signature'"),
        ({"id": 0, "bars": ["1"]}, r"tracks\[0\].bars\[0\]: expected an integer, got '1'"),
    ],
)
def test_a_bad_prompt_is_named(track: dict[str, Any], message: str) -> None:
    good = TrackPrompt(id=1, bars=[0])
    with pytest.raises(RequestValidationError, match=message):
        check(GenerationRequest([TrackPrompt(**track), good] if track["id"] != 1 else [good]), SCORE, YELLOW, ANY)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_dim": 5}, "is 5: the model never saw such a window. Choose one of 4, 8"),
        ({"window_bars": 12}, "is 12: the model never saw such a window"),
        ({"model_dim": 4, "window_bars": 8}, "both name the window"),
        ({"mask_mode": "token"}, "the encoder has no MASK_BAR token"),
        ({"mask_mode": "tokens"}, "config.mask_mode: expected one of auto, token"),
        ({"temperature": -1.0}, "config.temperature is -1.0"),
        ({"temperature": "hot"}, "config.temperature: expected a number"),
        ({"top_p": 1.5}, "config.top_p is 1.5"),
        ({"num_candidates": 0}, "config.num_candidates is 0"),
    ],
)
def test_a_bad_configuration_is_named(config: dict[str, Any], message: str) -> None:
    (problem,) = found(TrackPrompt(id=0, bars=[1]), **config)
    assert message in problem


@pytest.mark.parametrize(
    ("controls", "on", "message"),
    [
        ({"genre": "jazz"}, YELLOW, "the encoder has no genres"),
        ({"genre": "jaz"}, EXPRESSIVE, "does not know 'jaz'"),
        ({"velocity": 0}, YELLOW, "the encoder cannot switch it"),
        ({"velocity": 2}, EXPRESSIVE, "Choose true or false"),
        ({"tempo": 2}, EXPRESSIVE, "there is no 'tempo'"),
    ],
)
def test_a_bad_control_of_the_piece_is_named(controls: dict[str, Any], on: MidigptEncoder, message: str) -> None:
    (problem,) = problems(GenerationRequest([TrackPrompt(id=0, bars=[1])], controls=controls), SCORE, on, ANY)
    assert message in problem


FOUR_BARS = TrainedWindows(sizes=(4,), max_tracks=2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"window_bars": 8}, "is 8: the model never saw such a window. Choose one of 4."),
        ({"tracks_per_step": 3}, "config.tracks_per_step is 3: the model never saw more than 2 at once"),
        ({"context": "all"}, 'config.context is "all", so 3 tracks are seen at once: the model never saw more than 2'),
        (
            {"context": "listed", "context_drop": [2], "context_keep": [2]},
            'config.context is "listed", so 3 tracks are seen',
        ),
    ],
)
def test_a_window_that_the_model_never_saw_is_named(config: dict[str, Any], message: str) -> None:
    prompt = TrackPrompt(id=0, bars=[1])
    (problem,) = found(prompt, trained=FOUR_BARS, **config)
    assert message in problem
    assert found(prompt, **config) == [], "a bundle that does not say what it saw"
    assert found(prompt, trained=FOUR_BARS) == []
    assert found(prompt, TrackPrompt(id=2, ignore=True), trained=FOUR_BARS, context="all") == []
    assert found(prompt, trained=FOUR_BARS, context="listed", context_drop=[2]) == []


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ({"num_bars_choices": [4], "max_tracks": 3}, TrainedWindows(sizes=(4,), max_tracks=3)),
        ({"num_bars_choices": [8, 4, 4]}, TrainedWindows(sizes=(4, 8))),
        ({"num_bars_choices": [4, 6, True, "8"], "max_tracks": True}, TrainedWindows(sizes=(4,))),
        ({"num_bars_choices": [4, 200_000_000, 10**30], "max_tracks": 10**30}, TrainedWindows(sizes=(4,))),
        ({"num_bars_choices": [6], "max_tracks": 0}, TrainedWindows(sizes=(4, 8))),
        ({"num_bars_choices": {"4": 1}, "max_tracks": "4"}, TrainedWindows(sizes=(4, 8))),
        ("a word", TrainedWindows(sizes=(4, 8))),
    ],
)
def test_what_a_bundle_records_of_its_windows(stream: Any, expected: TrainedWindows) -> None:
    assert trained_windows(YELLOW, {"stream": stream}) == expected
    assert trained_windows(YELLOW, {"imported": True}) == TrainedWindows(sizes=(4, 8))


def test_everything_that_is_wrong_is_said_at_once() -> None:
    request = GenerationRequest(
        [
            TrackPrompt(id=0, bars=[99], attributes={"nothing": 1}),
            TrackPrompt(id=0, bars=[1]),
            TrackPrompt(id=7),
        ],
        InferenceConfig(model_dim=5, mask_mode="token"),
    )
    with pytest.raises(RequestValidationError) as raised:
        check(request, SCORE, YELLOW, ANY)
    assert len(raised.value.problems) == 6
    message = str(raised.value)
    assert message.startswith("6 problems: (1) ")
    for part in ("never saw", "MASK_BAR", "2 prompts", "bars 99", "'nothing'", "track 7"):
        assert part in message or part.strip("'") in message


def test_nothing_to_write_and_nothing_to_write_on() -> None:
    assert "no bar is to be written" in found(TrackPrompt(id=0))[0]
    assert "no bar is to be written" in found(TrackPrompt(id=0, bars=[]))[0]
    (only,) = found(TrackPrompt(id=0, bars=[99]))
    assert "out of range" in only
    empty = Score.from_dict({"resolution": 480, "tempo": 500000, "bars": [], "tracks": []})
    assert "the score is empty" in found(TrackPrompt(id=0, bars=[0]), score=empty)[0]


def test_a_signature_outside_the_list_counts_where_the_model_would_see_it() -> None:
    odd = SCORE.to_dict()
    odd["bars"] = [[4, 4, 4.0]] * 6 + [[17, 32, 2.125]] * 2
    score = Score.from_dict(odd)
    seen = found(TrackPrompt(id=0, bars=[5]), score=score, window_bars=4)
    assert seen == [
        "track 0: bar 6 is in 17/32, a time signature that the encoder cannot write. Ask for other bars, "
        "or ignore the track."
    ]
    assert found(TrackPrompt(id=0, bars=[0]), score=score, window_bars=4) == []


def test_infilling_needs_the_encoders_help() -> None:
    without = _without_infill()
    assert "has no infilling" in found(TrackPrompt(id=0, bars=[1]), on=without)[0]
    assert found(TrackPrompt(id=0, bars=[1], autoregressive=True), on=without) == []


def _without_infill() -> MidigptEncoder:
    config = EncoderConfig.from_preset("yellow").to_dict() | {"supports_infill": False}
    config["token_domains"] = [row for row in config["token_domains"] if not row["type"].startswith("FillIn")]
    return MidigptEncoder(EncoderConfig.from_mapping(config))


def test_requests_from_json() -> None:
    request = GenerationRequest.from_dict(
        {
            "tracks": [
                {"id": 0, "bars": [0, 1], "bar_attributes": {"1": {"note_density": 3}}},
                {"id": 1, "ignore": True},
            ],
            "config": {"temperature": 0.9, "window_bars": 8},
            "controls": {"genre": "rock"},
        }
    )
    assert request.tracks[0].bars == (0, 1)
    assert request.tracks[0].bar_attributes == {1: {"note_density": 3}}
    assert (request.config.model_dim, request.config.window_bars) == (8, 8)
    assert request.with_config(temperature=1.1).config.temperature == 1.1
    with pytest.raises(ConfigError, match=r"request.config.temperature: expected a number"):
        GenerationRequest.from_dict({"tracks": [], "config": {"temperature": "hot"}})


def test_json_is_read_as_the_public_package_reads_it(caplog: pytest.LogCaptureFixture) -> None:
    """Keys that there are not, 1.0 for 1, any seed below 0, truth values, "auto" and "no limit" below 0."""
    grid = {"unit": "eighth", "strength": 0.5}
    request = GenerationRequest.from_dict(
        {
            "tracks": [
                {
                    "id": 0.0, "bars": [1.0], "mask_bars": [3.0], "autoregressive": 0, "ignore": None, "colour": "red",
                    "attributes": {"max_polyphony": 3.0},
                    "bar_attributes": {"1": {"note_density": 2.0}},
                    "controls": {"rhythm_mask": {"grid": {**grid, "swing": 0.6}}},
                    "bar_controls": {"1": {"rhythm_mask": {"grid": {**grid, "swing": 0.6}}}, "2": None},
                }
            ],
            "config": {
                "seed": -7, "temprature": 2, "temperature": 1, "model_dim": 4.0, "bars_per_step": -1,
                "density_hard_limit": -1, "novelty_check": 0, "shuffle": 1, "num_candidates": 2.0,
            },
            "version": 3,
        }
    )  # fmt: skip
    assert request == GenerationRequest(
        [
            TrackPrompt(
                id=0, bars=[1], mask_bars=[3], attributes={"max_polyphony": 3},
                bar_attributes={1: {"note_density": 2}}, controls={"rhythm_mask": {"grid": grid}},
                bar_controls={1: {"rhythm_mask": {"grid": grid}}, 2: None},
            )
        ],
        InferenceConfig(
            seed=-1, temperature=1, model_dim=4, bars_per_step=0, novelty_check=False, shuffle=True, num_candidates=2
        ),
    )  # fmt: skip
    assert [record.message for record in caplog.records] == [
        "request.tracks[0].colour is ignored: there is no such option.",
        "request.config.temprature is ignored: there is no such option. Did you mean 'temperature'?",
        "request.version is ignored: there is no such option.",
    ]
    assert InferenceConfig.from_dict({"seed": None}).seed == -1
    assert type(request.tracks[0].id) is type(request.config.model_dim) is int
