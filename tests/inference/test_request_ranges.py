"""Every field of a request, outside its range and within: a wrong value is named, a right one makes music."""

from __future__ import annotations

import json
import pickle
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from midigpt_core.cli import asked
from midigpt_core.errors import ConfigError, EncodingError
from midigpt_core.inference import GenerationRequest, InferenceConfig, RequestValidationError, TrackPrompt
from midigpt_core.inference.fields import MOST_ENTRIES, typed_fields
from midigpt_core.inference.session import temperature_of
from midigpt_core.inference.validation import check, problems
from midigpt_core.score import Score
from midigpt_core.testing import music
from support.inference import PRESETS, engine, notes_outside

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCORE = music.scores()[0]  # two melodic tracks and drums, eight bars
BARS, TRACKS = 8, 3
CONFIG = typed_fields(InferenceConfig)
PROMPT = typed_fields(TrackPrompt)
LIMITED = {name: field.metadata["limits"] for name, field in CONFIG.items() if "limits" in field.metadata}

#: Of no field's type.
FOREIGN: list[Any] = [
    None, float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), "", "many", "9" * 5000, b"1", [], [[[]]],
    {"a": 1}, object(), 1j, np.zeros(2), np.zeros(()), {1}, lambda: 0, int, "\x1b[2J\ud800", 1 << 20000,
]  # fmt: skip


def _outside(low: float, high: float, above: bool, below: bool) -> st.SearchStrategy[Any]:
    """Numbers beyond the limits, and the limits themselves where these do not belong."""
    beyond = [st.floats(max_value=float(low), exclude_max=True), st.integers(max_value=int(low) - 1)]
    beyond += [st.floats(min_value=float(high), exclude_min=True), st.integers(min_value=int(high) + 1)]
    return st.one_of(*beyond, *([st.just(low)] if above else []), *([st.just(high)] if below else []))


@st.composite
def wrong_config(draw: st.DrawFn) -> tuple[str, Any]:
    """A field of InferenceConfig and a value that it does not take."""
    name = draw(st.sampled_from(sorted(CONFIG)))
    field = CONFIG[name]
    # An empty list is a list of tracks, and so is a set.
    accepted = (list, set) if "places" in field.metadata else ()
    choices = [st.sampled_from([value for value in FOREIGN if not isinstance(value, accepted)])]
    if name in LIMITED:
        limits = LIMITED[name]
        choices += [_outside(limits.low, limits.high, limits.above, limits.below), st.booleans()]
    elif "places" in field.metadata:
        place = st.one_of(st.integers(max_value=-1), st.integers(min_value=TRACKS), st.sampled_from(FOREIGN))
        choices += [place.map(lambda value: [0, value]), st.integers(), st.just(range(10**12))]
    elif field.type is bool:
        choices += [st.integers(), st.text()]
    else:
        choices += [st.text().filter(lambda text: text not in get_args(field.type)), st.integers()]
    return name, draw(st.one_of(*choices))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wrong_config())
def test_a_configuration_out_of_range_is_named_from_everywhere(wrong: tuple[str, Any]) -> None:
    _out_of_range(wrong)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wrong_config())
def test_a_configuration_out_of_range_is_named_from_everywhere_at_length(wrong: tuple[str, Any]) -> None:
    _out_of_range(wrong)


def _out_of_range(wrong: tuple[str, Any]) -> None:
    name, value = wrong
    on = engine()
    config = InferenceConfig(**{name: value})
    request = GenerationRequest([TrackPrompt(id=0, bars=[1], autoregressive=True)], config)
    with pytest.raises(RequestValidationError) as python:
        on.session(SCORE, request)
    named = "config.model_dim (window_bars)" if name == "window_bars" else f"config.{name}"
    assert any(named in problem or f"config.{name}" in problem for problem in python.value.problems)
    assert len(str(python.value)) < 2000
    try:
        assignment = f"{name}={json.dumps(value)}"
    except (TypeError, ValueError):
        return
    values, unread = asked.config_of([assignment], {})
    flags = asked.Flags(
        has_input=True, tracks="0", bars="1", new_tracks=(), continue_bars=None, autoregressive=True, attributes=()
    )
    with pytest.raises(RequestValidationError) as line:
        asked.request_of(asked.read_flags(flags), SCORE, on.encoder, values, on.trained)
    assert unread == []
    assert any(named in problem or f"config.{name}" in problem for problem in line.value.problems)


@st.composite
def wrong_prompt(draw: st.DrawFn) -> tuple[str, Any]:
    """A field of TrackPrompt and a value that it does not take."""
    name = draw(st.sampled_from(sorted(PROMPT)))
    foreign = st.sampled_from([value for value in FOREIGN if not isinstance(value, list | dict | set | np.ndarray)])
    track = st.one_of(st.integers(max_value=-1), st.integers(min_value=TRACKS))
    bar = st.one_of(st.integers(max_value=-1), st.integers(min_value=BARS))
    level = st.one_of(st.integers(max_value=-1), st.integers(min_value=100), foreign, st.booleans())
    attribute = st.one_of(
        st.dictionaries(st.text().filter(lambda text: text != "max_polyphony"), st.just(1), min_size=1, max_size=3),
        st.fixed_dictionaries({"max_polyphony": level}),
        st.just({"note_density": 1}),  # for drums alone
    )
    wrong: dict[str, st.SearchStrategy[Any]] = {
        "id": st.one_of(track, foreign, st.booleans(), st.just([0])),
        "bars": st.one_of(foreign, st.lists(st.one_of(bar, foreign), min_size=1, max_size=3), st.just(range(10**12))),
        "attributes": st.one_of(foreign, attribute, st.just([1])),
        "bar_attributes": st.one_of(
            foreign, st.dictionaries(st.integers(0, 7), attribute, min_size=1), st.just({1: 1})
        ),
        "controls": st.one_of(
            foreign,
            st.dictionaries(st.text().filter(lambda text: text != "time_signature"), st.just(1), min_size=1),
            st.one_of(foreign, st.sampled_from(["4/0", "0/4", "٣/٤", "4/4/4"]), st.integers(min_value=1000)).map(
                lambda value: {"time_signature": value}
            ),
        ),
    }
    wrong["mask_bars"] = wrong["bars"]
    return name, draw(wrong[name] if name in wrong else st.one_of(foreign, st.integers(), st.text()))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wrong_prompt())
def test_a_prompt_out_of_range_is_named(wrong: tuple[str, Any]) -> None:
    _prompt_out_of_range(wrong)


@pytest.mark.slow
@settings(max_examples=20_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(wrong_prompt())
def test_a_prompt_out_of_range_is_named_at_length(wrong: tuple[str, Any]) -> None:
    _prompt_out_of_range(wrong)


def _prompt_out_of_range(wrong: tuple[str, Any]) -> None:
    name, value = wrong
    prompt = TrackPrompt(**{"id": 0, "bars": [1], "autoregressive": True, name: value})
    with pytest.raises(RequestValidationError) as raised:
        check(GenerationRequest([prompt]), SCORE, engine().encoder, engine().trained)
    told = raised.value.problems
    assert any(name in problem or (name == "id" and "there is no such track" in problem) for problem in told)
    assert all(problem.endswith((".", "?")) and not problem.endswith("?.") for problem in told)
    assert len(str(raised.value)) < 2000


def test_every_field_declares_what_it_takes() -> None:
    for name, field in (CONFIG | PROMPT).items():
        named = get_origin(field.type) is Literal or "Mapping" in str(field.type)
        assert field.type is bool or named or {"limits", "places"} & set(field.metadata), name
    assert set(LIMITED) >= {"novelty_threshold", "ar_overlap", "model_dim", "bars_per_step", "tracks_per_step"}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("novelty_threshold", {0: False, 1e-9: True, 1: True}),
        ("ar_overlap", {0: True, 0.999: True, 1: False}),
        ("top_p", {0: False, 1: True}),
        ("mask_p", {0: True, 1: False}),
        ("model_dim", {-4: False, 0: True, 4: True}),
        ("bars_per_step", {-1: False, 0: True, 1: True}),
    ],
)
def test_the_ends_of_ranges(name: str, values: Mapping[float, bool]) -> None:
    for value, is_good in values.items():
        request = GenerationRequest([TrackPrompt(id=0, bars=[1])], InferenceConfig(**{name: value}))
        found = problems(request, SCORE, engine().encoder, engine().trained)
        assert (found == []) == is_good, (value, found)


def test_a_request_of_other_things_altogether() -> None:
    on = engine()
    for request in (None, {}, GenerationRequest(5), GenerationRequest("ab"), GenerationRequest([{}])):  # type: ignore[arg-type]
        with pytest.raises(RequestValidationError, match=r"TrackPrompt|GenerationRequest"):
            on.session(SCORE, request)  # type: ignore[arg-type]
    prompt = TrackPrompt(id=0, bars=[1])
    with pytest.raises(RequestValidationError, match=r"config: expected an InferenceConfig, got \{'seed': 1\}"):
        on.session(SCORE, GenerationRequest([prompt], {"seed": 1}))  # type: ignore[arg-type]
    with pytest.raises(RequestValidationError, match="controls: expected a mapping, got 5"):
        on.session(SCORE, GenerationRequest([prompt], controls=5))  # type: ignore[arg-type]


def test_numpy_integers_are_integers_and_lists_are_bounded() -> None:
    assert TrackPrompt(id=0, bars=np.arange(2, 4)).bars == (2, 3)  # type: ignore[arg-type]
    assert TrackPrompt(id=0, bars={3}).bars == (3,)  # type: ignore[arg-type]
    with pytest.raises(RequestValidationError, match=f"bars has more than {MOST_ENTRIES:,} entries"):
        engine().session(SCORE, GenerationRequest([TrackPrompt(id=0, bars=range(10**12))]))


class _Index:
    """An integer of some other library."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array, _Index])
def test_integers_of_other_libraries_are_integers_in_every_field(kind: Callable[[int], Any]) -> None:
    def prompt(of: Callable[[int], Any]) -> dict[str, Any]:
        levels = {"max_polyphony": of(3)}
        bars = [of(1), of(2)]
        controls = {"time_signature": of(5)}
        return {"id": of(0), "bars": bars, "mask_bars": [of(7)], "attributes": levels, "controls": controls}

    def config(of: Callable[[int], Any]) -> dict[str, Any]:
        whole = {name: of(2) for name, field in CONFIG.items() if field.type is int or "Auto" in str(field.type)}
        return {**whole, "context_keep": [of(1)]}

    plain = GenerationRequest([TrackPrompt(**prompt(int))], InferenceConfig(**config(int)))
    assert GenerationRequest([TrackPrompt(**prompt(kind))], InferenceConfig(**config(kind))) == plain
    assert GenerationRequest.from_dict({"tracks": [prompt(kind)], "config": config(kind)}) == plain
    if kind is not np.array:  # whose instances are no keys
        by_bar = TrackPrompt(id=0, bar_attributes={kind(1): {"a": kind(2)}})
        assert by_bar.bar_attributes == {1: {"a": 2}}
        assert by_bar == TrackPrompt.from_dict({"id": 0, "bar_attributes": {kind(1): {"a": kind(2)}}})


def test_levels_of_numpy_make_the_same_music_and_no_bool_is_a_level() -> None:
    on = engine()

    def run(level: Any) -> Score:
        prompt = TrackPrompt(id=0, bars=[1], attributes={"max_polyphony": level})
        return on.session(SCORE, GenerationRequest([prompt], InferenceConfig(seed=1))).run()

    assert run(np.int64(2)).to_dict() == run(2).to_dict()
    for level in (True, np.True_):
        with pytest.raises(RequestValidationError, match="max_polyphony"):
            run(level)


def test_unknown_and_missing_keywords_say_the_field() -> None:
    with pytest.raises(ConfigError, match=r"^config\.topp: unknown option\. Did you mean 'top_p'\?$"):
        InferenceConfig(topp=1)  # type: ignore[call-arg]
    with pytest.raises(RequestValidationError) as raised:
        TrackPrompt(bars=4, ignored=True)  # type: ignore[call-arg, arg-type]
    assert raised.value.problems == (
        "track.ignored: unknown option. Did you mean 'ignore'?",
        "track.id: missing: it has no default.",
        "track.bars: expected a list, got 4.",
    )
    with pytest.raises(RequestValidationError, match=r"takes keywords alone\. Write id=…"):
        TrackPrompt(0, [1])  # type: ignore[misc]
    with pytest.raises(RequestValidationError, match=r"request\.track: unknown option\. Did you mean 'tracks'"):
        GenerationRequest(track=[])  # type: ignore[call-arg]
    request = GenerationRequest([TrackPrompt(id=0)])
    with pytest.raises(RequestValidationError, match="Did you mean 'seed'"):
        request.with_config(sed=1)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (again.problems, str(again)) == (raised.value.problems, str(raised.value))


def test_a_problem_that_repeats_is_said_once_with_its_range() -> None:
    wide = Score.from_dict(
        {
            "resolution": 480,
            "tempo": 500_000,
            "bars": [[4, 4, 4.0]] * 63,
            "tracks": [{"program": 0, "drum": False, "notes": []}] * 120,
        }
    )
    levels = {bar: {"swing": 1} for bar in range(63)}
    prompts = [TrackPrompt(id=track, bars=range(63), bar_attributes=levels) for track in range(119)]
    prompts.append(TrackPrompt(id=119, bars=["x"] * 5, attributes={"note_density": 1}))  # type: ignore[list-item]
    found = problems(GenerationRequest(prompts), wide, engine().encoder, engine().trained)
    available = "Available: max_note_duration, max_polyphony, min_note_duration, min_polyphony."
    assert found == [
        "tracks[119].bars[0-4]: expected an integer, got 'x'.",
        "tracks 0-118: bar_attributes[0-62].swing: the encoder has no such bar attribute. Available: none.",
        f"track 119: attributes.note_density: it does not apply to a melodic track. {available}",
    ]


def test_messages_are_sentences_and_all_come_at_once() -> None:
    config = InferenceConfig(mask_mode="atention", temperature="hot", model_dim=5, ar_overlap=1, context_drop=[99])  # type: ignore[arg-type]
    prompts = [TrackPrompt(id=0, bars=[1], attributes={"max_polyfony": 1}), TrackPrompt(id=9)]
    with pytest.raises(RequestValidationError) as raised:
        engine().session(SCORE, GenerationRequest(prompts, config))
    assert raised.value.problems == (
        "config.temperature: expected a number, got 'hot'.",
        "config.mask_mode: expected one of auto, token, attention, attention_approx, attention_skip, remove, got "
        "'atention'. Did you mean 'attention'?",
        "config.ar_overlap is 1. Choose a value from 0 to below 1.",
        "config.model_dim (window_bars) is 5: the model never saw such a window. Choose one of 4, 8.",
        "config.context_drop 99: there is no such track. Tracks are 0 to 2.",
        "track 0: attributes.max_polyfony: the encoder has no such track attribute. Did you mean 'max_polyphony'? "
        "Available: max_note_duration, max_polyphony, min_note_duration, min_polyphony.",
        "track 9: there is no such track. Tracks are 0 to 2.",
    )


def test_escalated_temperatures_stay_numbers() -> None:
    hot = InferenceConfig(temperature_escalation=100.0)
    assert [temperature_of(hot, attempt) for attempt in (0, 1, 999)] == [1, 100, 100]
    assert temperature_of(InferenceConfig(temperature_escalation=0.01), 999) == 0
    assert temperature_of(InferenceConfig(temperature=0, temperature_escalation=100), 999) == 0
    assert temperature_of(InferenceConfig(temperature=0.9, temperature_escalation=1.1), 2) == 0.9 * 1.1**2


# --- requests that are in order --------------------------------------------------------------------------------------


@st.composite
def scores(draw: st.DrawFn) -> Score:
    signatures = draw(st.lists(st.sampled_from([(4, 4), (3, 4), (6, 8), (2, 4)]), min_size=1, max_size=12))
    bars = [[numerator, denominator, 4 * numerator / denominator] for numerator, denominator in signatures]
    note = st.tuples(
        st.integers(0, len(bars) - 1),
        st.integers(0, 900),
        st.integers(1, 2000),
        st.integers(0, 127),
        st.integers(1, 127),
    )
    track = st.fixed_dictionaries(
        {
            "program": st.integers(0, 127),
            "drum": st.booleans(),
            "notes": st.lists(note, max_size=20).map(
                lambda rows: sorted([[*row, 0] for row in rows], key=lambda r: r[0])
            ),
        }
    )
    tracks = draw(st.lists(track, min_size=1, max_size=5))
    return Score.from_dict({"resolution": 480, "tempo": 500_000, "bars": bars, "tracks": tracks})


def _levels(is_drum: bool) -> st.SearchStrategy[dict[str, int]]:
    names = ["note_density"] if is_drum else ["max_polyphony", "min_note_duration"]
    return st.one_of(st.just({}), st.dictionaries(st.sampled_from(names), st.integers(0, 4)))


@st.composite
def requests(draw: st.DrawFn, score: Score) -> GenerationRequest:
    count, bars = len(score.tracks), len(score.tracks[0].bars)
    numbers = {
        name: st.integers(int(limits.low), int(min(limits.high, 6)))
        if CONFIG[name].type is not float
        else st.floats(limits.low, min(limits.high, 3), exclude_min=limits.above, exclude_max=limits.below)
        for name, limits in LIMITED.items()
        if name not in ("model_dim", "window_bars", "num_candidates", "density_hard_limit", "bars_per_step")
    }
    config = draw(
        st.fixed_dictionaries(
            {"density_hard_limit": st.integers(1, 3)},
            optional={
                **numbers,
                "model_dim": st.sampled_from(["auto", 0, 4, 8]),
                "bars_per_step": st.sampled_from(["auto", 0, 1, 2, 4]),
                "num_candidates": st.integers(1, 2),
                "mask_mode": st.sampled_from(["auto", "attention", "remove"]),
                "context": st.sampled_from(["auto", "listed", "all"]),
                "context_drop": st.lists(st.integers(0, count - 1), max_size=3),
                "context_keep": st.lists(st.integers(0, count - 1), max_size=3),
                "novelty_check": st.booleans(),
                "silence_check": st.booleans(),
            },
        )
    )
    prompts = []
    for track in draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True)):
        roles = draw(st.lists(st.sampled_from(["", "", "write", "hide"]), min_size=bars, max_size=bars))
        ignore = draw(st.booleans()) and draw(st.booleans())
        prompts.append(
            TrackPrompt(
                id=track,
                bars=[] if ignore else [bar for bar, role in enumerate(roles) if role == "write"],
                mask_bars=[bar for bar, role in enumerate(roles) if role == "hide"],
                ignore=ignore,
                autoregressive=draw(st.booleans()),
                attributes=draw(_levels(score.tracks[track].is_drum)),
                controls=draw(st.sampled_from([{}, {}, {}, {"time_signature": "3/4"}, {"time_signature": 0}])),
            )
        )
    return GenerationRequest(prompts, InferenceConfig(**config))


def _answer(data: st.DataObject) -> None:
    """A request that is drawn at random is refused by name, or carried out with all else untouched."""
    score = data.draw(scores())
    request = data.draw(requests(score))
    on = engine(data.draw(st.sampled_from(PRESETS)), 512)
    try:
        asked_for = on.session(score, request)
    except (RequestValidationError, EncodingError) as refusal:
        event(f"refused: {type(refusal).__name__}")
        return
    event("carried out")
    all_bars = {(prompt.id, bar) for prompt in request.tracks for bar in prompt.bars}
    # Of bars to fill in, infill_probability leaves some out.
    wanted = {(prompt.id, bar) for prompt in asked_for.request.tracks for bar in prompt.bars}
    assert wanted == all_bars or (wanted < all_bars and wanted and request.config.infill_probability < 1)
    for made, written in zip(asked_for.run_variations(), asked_for.generated_bars, strict=True):
        assert written == wanted
        assert notes_outside(made, written) == notes_outside(score, written)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_request_is_refused_by_name_or_carried_out(data: st.DataObject) -> None:
    _answer(data)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_request_is_refused_by_name_or_carried_out_at_length(data: st.DataObject) -> None:
    _answer(data)
