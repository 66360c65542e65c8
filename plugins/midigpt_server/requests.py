"""Requests as JSON in the form of the public package midigpt 0.4.2.

Unknown keys are ignored, as 0.4.2 ignores them, and a field that is left out has 0.4.2's default. docs/daw.md lists the
differences.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from midigpt_core.inference import GenerationRequest, InferenceConfig, RequestValidationError
from midigpt_core.inference.plain import whole_numbers
from midigpt_server.refusals import Refused, a_list, an_object, truth, whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_server.scores import ParsedScore

#: Where 0.4.2's default is not ours.
_DEFAULTS = {"model_dim": 4, "bars_per_step": 1, "tracks_per_step": 1}
_HIGHEST_ESCALATION = 3.0
_MOST_CANDIDATES = 16
_MOST_PLACES = 100_000


@frozen(kw_only=True)
class ParsedRequest:
    request: GenerationRequest
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
    return ParsedRequest(request=request, plan_only=request.config.plan_only)


def _config(values: Mapping[str, Any]) -> dict[str, Any]:
    known = attrs.fields_dict(InferenceConfig)
    # Clients send keys of their own: no warning.
    given = {**_DEFAULTS, **{name: whole_numbers(value) for name, value in values.items() if name in known}}
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
    if autoregressive and not bars:
        bars = list(range(num_bars))
    return {
        "id": whole(prompt["id"], f"{where}.id"),
        "bars": sorted(set(bars)),
        "autoregressive": autoregressive,
        "ignore": ignore,
        "mask_bars": [whole(bar, f"{where}.mask_bars") for bar in masked],
        "attributes": an_object(prompt.get("attributes", {}), f"{where}.attributes"),
        "bar_attributes": an_object(prompt.get("bar_attributes", {}), f"{where}.bar_attributes"),
        "controls": an_object(prompt.get("controls", {}), f"{where}.controls"),
        "bar_controls": an_object(prompt.get("bar_controls", {}), f"{where}.bar_controls"),
    }
