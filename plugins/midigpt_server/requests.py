"""Requests as JSON in the form of the public package midigpt 0.4.2.

Unknown keys are ignored, as 0.4.2 ignores them, and a field that is left out has 0.4.2's default. ``shuffle`` and
``batch_attempts`` are accepted without an effect: steps follow the plan, and attempts that fail are repeated together.
docs/daw.md lists the differences.
"""

from __future__ import annotations

import math
import secrets
from random import Random
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from midigpt_core.config.wording import spell
from midigpt_core.errors import nearest
from midigpt_core.inference import GenerationRequest, InferenceConfig, RequestValidationError
from midigpt_server.refusals import Refused, a_list, an_object, truth, whole, whole_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_server.scores import ParsedScore

#: Where 0.4.2's default is not ours.
_DEFAULTS = {"model_dim": 4, "bars_per_step": 1, "tracks_per_step": 1}
_BOOLEANS = ("novelty_check", "silence_check", "plan_only")
#: Names of one way of masking: all hide the bars from every token that is read.
_MASK_MODES = {"attention_approx": "attention", "attention_skip": "attention"}
_NOT_YET = ("pitch_mask", "rhythm_mask", "remix")
_HIGHEST_ESCALATION = 3.0
_MOST_CANDIDATES = 16
_MOST_PLACES = 100_000


@frozen(kw_only=True)
class ParsedRequest:
    request: GenerationRequest
    #: Track -> bars to write, without those that ``infill_probability`` leaves as they are.
    generated_bars: Mapping[int, list[int]]
    plan_only: bool


def parse_request(content: Any, parsed: ParsedScore) -> ParsedRequest:
    """The request on a score. Raises :class:`Refused` with every problem that is found, in one text."""
    values = an_object(content, "request", 400)
    config = an_object(values.get("config", {}), "request.config")
    if "tracks" not in values:
        raise Refused(400, "Invalid input: request.tracks is missing.")
    num_tracks = len(parsed.score.tracks)
    num_bars = len(parsed.score.tracks[0].bars)
    listed = a_list(values["tracks"], "request.tracks", most=4 * num_tracks + 16)
    tracks = [_prompt(track, f"request.tracks[{index}]", num_bars) for index, track in enumerate(listed)]
    settings = _config(config)
    # 0.4.2 takes any seed below 0, and null, for "a fresh one".
    seed = settings.get("seed", -1)
    fresh = seed is None or (isinstance(seed, int) and not isinstance(seed, bool) and seed < 0)
    settings["seed"] = secrets.randbits(31) if fresh else seed
    share = _share(config.get("infill_probability", 1.0))
    if share < 1 and isinstance(settings["seed"], int):
        tracks = _some_of(tracks, share, settings["seed"])
    for prompt in tracks:
        hidden = sorted(bar for track, bar in parsed.future if track == prompt["id"])
        prompt["mask_bars"] = sorted({*prompt["mask_bars"], *hidden})
    # Hidden bars of tracks without a prompt.
    rest = sorted({track for track, _ in parsed.future} - {prompt["id"] for prompt in tracks})
    tracks += [{"id": track, "mask_bars": [bar for of, bar in sorted(parsed.future) if of == track]} for track in rest]
    plain = {"tracks": tracks, "config": settings, "controls": values.get("controls", {})}
    try:
        request = GenerationRequest.from_dict(plain)
    except RequestValidationError as error:
        raise Refused(422, str(error)) from error
    return ParsedRequest(
        request=request,
        generated_bars={prompt.id: list(prompt.bars) for prompt in request.tracks if prompt.bars},
        plan_only=request.config.plan_only,
    )


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    known = attrs.fields_dict(InferenceConfig)
    given = {name: whole_numbers(value) for name, value in values.items() if name in known}
    given = {**_DEFAULTS, **given}
    for name in ("model_dim", "bars_per_step", "tracks_per_step", "polyphony_hard_limit", "density_hard_limit"):
        value = given.get(name)
        # Below 0 is "auto" or "no limit" there; both are 0 here.
        if isinstance(value, int) and not isinstance(value, bool) and value < 0:
            given[name] = 0
    for name in _BOOLEANS:
        if name in given:
            given[name] = truth(given[name])
    mode = given.get("mask_mode")
    if isinstance(mode, str):
        given["mask_mode"] = _MASK_MODES.get(mode, mode)
    escalation = given.get("temperature_escalation", 1.0)
    if isinstance(escalation, int | float) and not isinstance(escalation, bool):
        if escalation < 1:
            raise Refused(422, f"request.config.temperature_escalation is {escalation}. Choose a value from 1.")
        given["temperature_escalation"] = min(escalation, _HIGHEST_ESCALATION)
    temperature = given.get("temperature", 1.0)
    if isinstance(temperature, int | float) and temperature == 0:
        raise Refused(422, "request.config.temperature is 0. Choose a value above 0.")
    _check_masked_and_kept(given, "mask_p", "top_p", 1)
    _check_masked_and_kept(given, "mask_k", "top_k", 0)
    whole(given.get("num_candidates", 1), "request.config.num_candidates", 1, _MOST_CANDIDATES)
    return given


def _check_masked_and_kept(values: Mapping[str, Any], masked: str, kept: str, everything: float) -> None:
    """What is masked must leave something of what is kept."""
    first, second = (values.get(name) for name in (masked, kept))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (first, second))
    if numbers and second != everything and first >= second > 0:  # type: ignore[operator]
        raise Refused(422, f"request.config.{masked} is {first}, {kept} {second}. Choose a smaller {masked}.")


def _share(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise Refused(422, f"request.config.infill_probability is {spell(value)}. Choose a value above 0 and up to 1.")
    return float(value)


def _prompt(content: Any, where: str, num_bars: int) -> dict[str, Any]:
    prompt = an_object(content, where, 400)
    for key in ("id", "bars"):
        if key not in prompt:
            raise Refused(400, f"Invalid input: {where}.{key} is missing.")
    bars = [whole(bar, f"{where}.bars") for bar in a_list(prompt["bars"], f"{where}.bars", most=_MOST_PLACES)]
    autoregressive = truth(prompt.get("autoregressive", False))
    masked = a_list(prompt.get("mask_bars", []), f"{where}.mask_bars", most=_MOST_PLACES)
    ignore = truth(prompt.get("ignore", False))
    if ignore and (masked or autoregressive):
        raise Refused(422, f"{where}: ignored, although bars of it are masked or written. Leave out ignore.")
    controls = an_object(prompt.get("controls", {}), f"{where}.controls")
    _refuse_controls(controls, f"{where}.controls")
    for bar, of_bar in an_object(prompt.get("bar_controls", {}), f"{where}.bar_controls").items():
        place = f"{where}.bar_controls[{bar[:20]}]"
        if of_bar:
            _refuse_controls(an_object(of_bar, place), place)
            raise Refused(422, f"{place}: controls of single bars are not supported. Use those of the track.")
    if autoregressive and not bars:
        bars = list(range(num_bars))
    return {
        "id": whole(prompt["id"], f"{where}.id"),
        "bars": sorted(set(bars)),
        "autoregressive": autoregressive,
        "ignore": ignore,
        "mask_bars": [whole(bar, f"{where}.mask_bars") for bar in masked],
        "attributes": whole_numbers(an_object(prompt.get("attributes", {}), f"{where}.attributes")),
        "bar_attributes": whole_numbers(an_object(prompt.get("bar_attributes", {}), f"{where}.bar_attributes")),
        "controls": whole_numbers(controls),
    }


def _refuse_controls(controls: Mapping[str, Any], where: str) -> None:
    for name in controls:
        if name in _NOT_YET:
            raise Refused(422, f"{where}.{name} is not supported. Leave it out; /info lists the capabilities.")
        if name != "time_signature":
            known = ("time_signature", *_NOT_YET)
            raise Refused(422, f"{where}: there is no control {name[:40]!r}.{nearest(name, known)}")


def _some_of(tracks: list[dict[str, Any]], share: float, seed: int) -> list[dict[str, Any]]:
    """A random ``share`` of the infill targets, at least one; the other bars are context with the notes they have."""
    targets = sorted(
        {(prompt["id"], bar) for prompt in tracks if not prompt["autoregressive"] for bar in prompt["bars"]}
    )
    if not targets:
        return tracks
    kept = set(Random(seed).sample(targets, max(1, math.floor(share * len(targets) + 0.5))))

    def stays(prompt: Mapping[str, Any], bar: Any) -> bool:
        return bool(prompt["autoregressive"]) or (prompt["id"], bar) in kept

    return [
        {
            **prompt,
            "bars": [bar for bar in prompt["bars"] if stays(prompt, bar)],
            "bar_attributes": {
                bar: levels for bar, levels in prompt["bar_attributes"].items() if stays(prompt, _number(bar))
            },
        }
        for prompt in tracks
    ]


def _number(bar: str) -> int:
    return int(bar) if bar.isdecimal() and len(bar) < 10 else -1
