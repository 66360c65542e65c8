"""Controls as plain values: what they mean without a model, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from midigpt_core.errors import ConfigError
from midigpt_core.inference import GenerationRequest, InferenceConfig, RequestValidationError, TrackPrompt
from midigpt_core.inference.chances import shuffled, with_some_bars
from midigpt_core.inference.controls import PitchMask, Remix, RhythmMask, read_control
from midigpt_core.inference.planner import Step
from midigpt_core.inference.scales import GRID_UNITS, SCALES
from midigpt_core.inference.validation import problems
from midigpt_core.records import NoteGrid
from midigpt_core.testing import music
from support.inference import engine

SCORE = music.scores()[0]  # two melodic tracks and drums, eight bars in 4/4
GRID = NoteGrid(resolution=12, positions=192, pitches=128)


def pitch_mask(**values: Any) -> PitchMask:
    control, found = read_control("pitch_mask", values)
    assert isinstance(control, PitchMask), found
    return control


def allowed(*, drum: bool = False, **values: Any) -> set[int]:
    mask = pitch_mask(**values).allowed(drum=drum)
    assert mask is not None
    return set(np.flatnonzero(mask).tolist())


def told(controls: Any = (), bar_controls: Any = (), *, track: int = 1, preset: str = "yellow", **more: Any) -> str:
    """The problems of a request for bars 2 and 3 of a track with these controls."""
    config = InferenceConfig(**{name: more.pop(name) for name in list(more) if name.endswith("_limit")})
    prompt = TrackPrompt(id=track, bars=[2, 3], controls=dict(controls), bar_controls=dict(bar_controls), **more)
    on = engine(preset)
    return "\n".join(problems(GenerationRequest([prompt], config), SCORE, on.encoder, on.trained))


def test_pitches_of_a_mask() -> None:
    assert allowed(pitches=[60, 64, 60]) == {60, 64}
    assert allowed(pitches=[60], scale="major", root=5) == {60}, "exact pitches come before the scale"
    assert allowed(pitch_classes=[0, 16, -8]) == {pitch for pitch in range(128) if pitch % 12 in {0, 4}}
    for name, steps in SCALES.items():
        for root in (0, 2, 14, -10):
            expected = {pitch for pitch in range(128) if (pitch - root) % 12 in steps}
            assert allowed(scale=name, root=root) == expected
    assert sorted(SCALES["blues"]) == [0, 3, 5, 6, 7, 10]
    assert len(SCALES) == 14
    assert pitch_mask().allowed(drum=False) is None
    assert pitch_mask(root=3).allowed(drum=False) is None
    assert pitch_mask(scale="dorian").allowed(drum=True) is None, "drums have no scale"
    assert allowed(drum=True, pitches=[36, 38], scale="dorian") == {36, 38}


def test_weights_of_a_shape() -> None:
    pitches = np.arange(128)
    weights = pitch_mask(shape={"type": "uniform", "min": 60, "max": 72}).weights(drum=False, pitches=128)
    assert weights is not None
    assert np.flatnonzero(weights).tolist() == list(range(60, 73))
    for std in (5.0, -5.0):
        weights = pitch_mask(shape={"type": "normal", "mean": 60, "std": std}).weights(drum=False, pitches=128)
        assert weights is not None
        np.testing.assert_allclose(weights, np.exp(-(((pitches - 60) / 5) ** 2) / 2), rtol=1e-6, atol=1e-37)
        assert (weights > 0).all(), "far pitches stay possible where nothing else is"
    narrow = pitch_mask(shape={"type": "normal", "mean": 60, "std": 0})
    assert narrow.shape is not None
    assert np.flatnonzero(narrow.shape.weights()).tolist() == [60]
    default = pitch_mask(shape={"type": "normal"}).weights(drum=False, pitches=128)
    assert default is not None
    assert default[60] == 1
    np.testing.assert_allclose(default[72], np.exp(-0.5), rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "step"),
    [
        ("whole", 48), ("half", 24), ("quarter", 12), ("eighth", 6), ("sixteenth", 3), ("quarter_triplet", 4),
        ("eighth_triplet", 2), ("sixteenth_triplet", 1), ("quarter_note_triplet", 8), ("eighth_note_triplet", 4),
        ("sixteenth_note_triplet", 2),
    ],
)  # fmt: skip
def test_weights_of_a_grid(unit: str, step: int) -> None:
    weights = RhythmMask(None, True, unit, 0.75).weights(GRID)
    assert [float(weight) for weight in weights] == [1.0 if tick % step == 0 else 0.25 for tick in range(192)]
    assert unit in GRID_UNITS


def test_a_grid_that_does_not_divide_the_beat_is_rounded() -> None:
    weights = RhythmMask(None, True, "eighth_triplet", 1.0).weights(NoteGrid(resolution=10, positions=40, pitches=128))
    assert np.flatnonzero(weights).tolist() == list(range(0, 40, 2))


def test_how_many_notes_a_remix_rewrites() -> None:
    assert [Remix(amount).count(4) for amount in (0.1, 0.25, 0.5, 1.0)] == [1, 1, 2, 4]
    assert Remix(0.5).count(5) == 2, "round half to even"
    assert Remix(1.0).count(0) == 0


def test_shuffled_steps_and_some_of_the_bars() -> None:
    """The examples of the public package."""
    steps = [Step(start_bar=bar, num_bars=1, autoregressive=False, cells=((0, bar),)) for bar in range(8)]
    first = Step(start_bar=0, num_bars=4, autoregressive=True, cells=((1, 3),))
    assert shuffled([first, *steps], 5)[0] is first
    assert [step.start_bar for step in shuffled(steps, 5)] == [6, 3, 1, 0, 7, 2, 5, 4]

    prompts = [
        TrackPrompt(id=0, bars=range(4), bar_attributes={1: {"x": 1}, 2: {"x": 2}}, bar_controls={1: {}, 2: {}}),
        TrackPrompt(id=1, bars=[1, 3]),
        TrackPrompt(id=2, bars=[5, 6], autoregressive=True),
    ]
    kept = with_some_bars(GenerationRequest(prompts, InferenceConfig(infill_probability=0.4)), 5)
    assert [list(prompt.bars) for prompt in kept.tracks] == [[2], [1], [5, 6]]
    assert [*kept.tracks[0].bar_attributes] == [*kept.tracks[0].bar_controls] == [2], "what is dropped asks for nothing"
    whole = GenerationRequest(prompts, InferenceConfig())
    assert with_some_bars(whole, 5) is whole


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("pitch_mask", None, "pitch_mask is null. Give a mapping"),
        ("pitch_mask", [60], "pitch_mask is [60]. Give a mapping"),
        ("pitch_mask", {"pitchs": [60]}, "pitch_mask: unknown option. Did you mean 'pitches'?"),
        ("pitch_mask", {"pitches": [60, 128]}, "pitch_mask.pitches has 128. Give integers from 0 to 127."),
        ("pitch_mask", {"pitches": [-1]}, "pitch_mask.pitches has -1"),
        ("pitch_mask", {"pitches": 5}, "pitch_mask.pitches is 5. Give a list of integers."),
        ("pitch_mask", {"pitches": []}, "pitch_mask.pitches is empty"),
        ("pitch_mask", {"pitches": [True]}, "pitch_mask.pitches has true"),
        ("pitch_mask", {"pitch_classes": []}, "pitch_mask.pitch_classes is empty"),
        ("pitch_mask", {"scale": "major", "pitch_classes": [0]}, "scale and pitch_classes both"),
        ("pitch_mask", {"scale": "dorain"}, "pitch_mask.scale is 'dorain': unknown scale. Did you mean 'dorian'?"),
        ("pitch_mask", {"scale": None}, "pitch_mask.scale is null"),
        ("pitch_mask", {"scale": "major", "root": "C"}, "pitch_mask.root is 'C'. Give the tonic as an integer"),
        ("pitch_mask", {"root": None}, "pitch_mask.root is null"),
        ("pitch_mask", {"shape": 3}, "pitch_mask.shape is 3"),
        ("pitch_mask", {"shape": {}}, "pitch_mask.shape.type is null. Choose normal or uniform."),
        ("pitch_mask", {"shape": {"type": "gamma"}}, "pitch_mask.shape.type is 'gamma'"),
        ("pitch_mask", {"shape": {"type": "uniform", "min": 9, "max": 3}}, "min is 9 and max 3"),
        ("pitch_mask", {"shape": {"type": "normal", "std": 10**400}}, "pitch_mask.shape.std is"),
        ("pitch_mask", {"shape": {"type": "normal", "mean": float("nan")}}, "pitch_mask.shape.mean is nan"),
        ("pitch_mask", {"shape": {"type": "normal", "middle": 1}}, "pitch_mask.shape: unknown option"),
        ("rhythm_mask", 1, "rhythm_mask is 1. Give a mapping"),
        ("rhythm_mask", {}, "rhythm_mask: give either positions or a grid"),
        ("rhythm_mask", {"positions": [{"pos": 0}], "grid": {"unit": "half"}}, "give either positions or a grid"),
        ("rhythm_mask", {"swing": 1}, "rhythm_mask: unknown option"),
        ("rhythm_mask", {"positions": []}, "rhythm_mask.positions: give a list"),
        ("rhythm_mask", {"positions": "0,12"}, "rhythm_mask.positions: give a list"),
        ("rhythm_mask", {"positions": [{"polyphony": 1}]}, "rhythm_mask.positions[0] is"),
        ("rhythm_mask", {"positions": [12]}, "rhythm_mask.positions[0] is 12"),
        ("rhythm_mask", {"positions": [{"pos": -1}]}, "rhythm_mask.positions[0].pos is -1"),
        ("rhythm_mask", {"positions": [{"pos": 0}, {"pos": 0}]}, "rhythm_mask.positions[1].pos: 0 is there twice"),
        ("rhythm_mask", {"positions": [{"pos": 192}]}, "has no tick 192 in a bar. Ticks are 0 to 191."),
        ("rhythm_mask", {"positions": [{"pos": 0, "polyphony": 0}]}, "rhythm_mask.positions[0].polyphony is 0"),
        ("rhythm_mask", {"positions": [{"pos": 0}], "microtiming": 3}, "rhythm_mask.microtiming is 3"),
        ("rhythm_mask", {"grid": {"unit": "third"}}, "rhythm_mask.grid.unit is 'third'"),
        ("rhythm_mask", {"grid": {}}, "rhythm_mask.grid.unit is null"),
        ("rhythm_mask", {"grid": {"unit": "half", "strength": 1.5}}, "rhythm_mask.grid.strength is 1.5"),
        ("rhythm_mask", {"grid": {"unit": "half", "strength": None}}, "rhythm_mask.grid.strength is null"),
        ("remix", 0.5, "remix is 0.5. Give a mapping"),
        ("remix", {}, "remix.amount is missing. Choose a value above 0 and up to 1."),
        ("remix", {"amount": 0}, "remix.amount is 0."),
        ("remix", {"amount": 1.5}, "remix.amount is 1.5."),
        ("remix", {"amount": "half"}, "remix.amount is 'half'."),
        ("remix", {"amount": 0.5, "mode": "rhythm"}, "remix.mode is 'rhythm'. Choose pitch or full."),
        ("remix", {"amount": 0.5, "mode": [1]}, "remix.mode is [1]."),
        ("remix", {"amount": 0.5, "seed": 1}, "remix: unknown option"),
    ],
)
def test_a_faulty_control_is_named_on_tracks_and_on_bars(name: str, value: Any, problem: str) -> None:
    assert problem in told({name: value})
    assert "\n" not in told({name: value}), "one fault is told once"
    of_bar = told(bar_controls={2: {name: value}})
    assert problem in of_bar
    assert of_bar.startswith("track 1: bar_controls[2].")


@pytest.mark.parametrize(
    ("controls", "bar_controls", "problem"),
    [
        ({"remix": {"amount": 0.5}, "rhythm_mask": {"grid": {"unit": "half"}}}, {}, "bars 2-3: remix and rhythm_mask"),
        ({"remix": {"amount": 0.5}}, {3: {"rhythm_mask": {"grid": {"unit": "half"}}}}, "bars 3: remix and rhythm_mask"),
        (
            {"pitch_mask": {"pitches": [60], "shape": {"type": "uniform", "min": 70, "max": 80}}},
            {},
            "bars 2-3: pitch_mask leaves no pitch",
        ),
        (
            {"pitch_mask": {"pitches": [60]}},
            {3: {"pitch_mask": {"pitches": [100], "shape": {"type": "normal", "mean": 0, "std": 1}}}},
            "bars 3: pitch_mask leaves no pitch",
        ),
        (
            {"pitch_mask": {"pitches": [60]}, "rhythm_mask": {"positions": [{"pos": 0, "polyphony": 3}]}},
            {},
            "bars 2-3: rhythm_mask has 3 notes at one position, and pitch_mask leaves 1 pitches",
        ),
        ({"rhythm_mask": {"positions": [{"pos": 60}]}}, {}, "bars 2-3: too short for rhythm_mask, whose first"),
        ({}, {5: {"pitch_mask": {}}}, "bar_controls[5]: the bar is not written"),
        ({}, {2: {"junk": 1}}, "bar_controls[2]: there is no 'junk'"),
        ({"junk": 1}, {}, "controls: there is no 'junk'. Known: pitch_mask, remix, rhythm_mask, time_signature."),
        ({"time_signature": "3/4"}, {}, "controls.time_signature: track 0 has notes in bars 2-3"),
        ({}, {2: {"time_signature": "3/4"}}, "bar_controls[2].time_signature: track 0 has notes in the bar"),
        ({}, {2: {"time_signature": "99/7"}}, "bar_controls[2].time_signature: the encoder cannot write '99/7'"),
    ],
)
def test_controls_that_leave_nothing_are_named_with_their_bars(
    controls: dict[str, Any], bar_controls: dict[int, Any], problem: str
) -> None:
    assert problem in told(controls, bar_controls)


def test_what_is_possible_is_not_refused() -> None:
    rhythm = {"positions": [{"pos": 0, "polyphony": 2}, {"pos": 60}, {"pos": 70}]}
    assert told({"rhythm_mask": rhythm, "pitch_mask": {}}, polyphony_hard_limit=1, density_hard_limit=1) == ""
    assert told({"pitch_mask": {"scale": "major", "shape": None}}, {2: None, 3: {}}) == ""
    assert told({"pitch_mask": {"scale": "dorian"}}, track=2) == ""
    # A bar's own control stands for the track's.
    assert told({"rhythm_mask": {"positions": [{"pos": 60}]}}, {bar: {"rhythm_mask": rhythm} for bar in (2, 3)}) == ""
    assert "ignored, although it has controls" in told({"pitch_mask": {}}, ignore=True)


def test_signatures_of_tracks_must_agree() -> None:
    on = engine()
    prompts = [
        TrackPrompt(id=0, bars=[2, 3], controls={"time_signature": "3/4"}),
        TrackPrompt(id=1, bars=[2, 3], bar_controls={3: {"time_signature": "4/4"}}),
    ]
    found = problems(GenerationRequest(prompts), SCORE, on.encoder, on.trained)
    assert any("bars 3: time_signature differs between tracks" in problem for problem in found)


def test_an_encoder_without_positions_refuses_rhythms_and_remixes_by_name() -> None:
    encoder = engine().encoder
    bare: Any = type("Bare", (type(encoder),), {"provides": frozenset({"infill", "pitch_mask"})})(encoder.config)
    for control in ({"rhythm_mask": {"grid": {"unit": "half"}}}, {"remix": {"amount": 1}}):
        request = GenerationRequest([TrackPrompt(id=1, bars=[2], controls=control)])
        (problem,) = problems(request, SCORE, bare, engine().trained)
        assert problem.startswith(f"track 1: controls.{next(iter(control))} is not supported")


def test_names_of_bars_in_json_and_of_mask_modes() -> None:
    plain = {"id": 1, "bars": [2], "bar_controls": {"2": {"pitch_mask": {"pitches": [60]}}, "3": None}}
    assert dict(TrackPrompt.from_dict(plain).bar_controls) == {2: {"pitch_mask": {"pitches": [60]}}, 3: None}
    with pytest.raises(ConfigError, match="bar_controls"):
        TrackPrompt.from_dict({"id": 1, "bar_controls": {"2": 5}})
    for mode in ("attention_approx", "attention_skip"):
        assert InferenceConfig.from_dict({"mask_mode": mode}).mask_mode == mode
    with pytest.raises(RequestValidationError, match="mask_mode"):
        InferenceConfig.from_dict({"mask_mode": "attention_exact"})
