"""Checks a request and reports all of its problems at once, before anything is sampled."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from midigpt_core.config.wording import MOST_LISTED, key_name, spell
from midigpt_core.errors import nearest
from midigpt_core.inference import planner
from midigpt_core.inference.control_checks import (
    check_controls,
    check_signatures_agree,
    known_names,
    rewritten_cells,
    signature_of,
)
from midigpt_core.inference.fields import RequestValidationError, type_problems, typed_fields
from midigpt_core.inference.problems import Found, bar_ranges
from midigpt_core.inference.request import GenerationRequest, InferenceConfig, TrackPrompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midigpt_core.config.fields import Limits
    from midigpt_core.contracts import Encoder
    from midigpt_core.inference.fields import Record
    from midigpt_core.inference.trained import TrainedWindows
    from midigpt_core.score import Score, Track

__all__ = ["RequestValidationError", "bar_ranges", "check", "problems", "signature_of"]

_PIECE_CONTROLS = ("genre", "microtiming", "velocity")


def check(request: GenerationRequest, score: Score, encoder: Encoder, trained: TrainedWindows) -> None:
    """Raise :class:`RequestValidationError` if :func:`problems` finds any."""
    found = problems(request, score, encoder, trained)
    if found:
        raise RequestValidationError(found)


def problems(request: GenerationRequest, score: Score, encoder: Encoder, trained: TrainedWindows) -> list[str]:
    """The problems of a request, one line each; empty if it is valid. ``trained``: the windows that the model saw."""
    if not isinstance(request, GenerationRequest):
        return [f"request: expected a GenerationRequest, got {spell(request)}."]
    found = Found()
    # A value of a wrong type is reported. Its default replaces it while the others are checked.
    request, prompts = _sound(request, found)
    has_types = not found
    _of_config(request.config, encoder, trained, found)
    has_plan = not found
    _of_controls(request.controls, encoder, found)
    tracks = score.tracks
    num_bars = max((len(track.bars) for track in tracks), default=0)
    if not tracks or not num_bars:
        found.add("the score is empty: it has no tracks, or no bars. Add the tracks and bars that are to be written.")
        return found.told()
    _of_places(request.config, len(tracks), "track", found)
    for track, count in Counter(prompt.id for prompt in prompts).items():
        if count > 1:
            found.add(f"{count} prompts are for it. Ask everything of a track in one prompt.", track)
    for prompt in prompts:
        _of_prompt(prompt, tracks, num_bars, encoder, found)
    check_signatures_agree(prompts, encoder, found)
    if has_types and not any(prompt.bars and not prompt.ignore for prompt in prompts):
        found.add("no bar is to be written. Give a track bars, and do not ignore it.")
    request = attrs.evolve(request, tracks=prompts)
    _of_seen_tracks(request, len(tracks), trained, found)
    # A plan for numbers out of range may have no end.
    if has_plan:
        steps = planner.plan(request, num_bars, trained)
        seen = np.zeros(num_bars, np.bool_)
        for step in steps:
            seen[step.start_bar : step.end_bar] = True
        _of_signatures(request, np.flatnonzero(seen).tolist(), tracks, encoder, found)
    return found.told()


def _sound(request: GenerationRequest, found: Found) -> tuple[GenerationRequest, list[TrackPrompt]]:
    """The request without its values of a wrong type, and the prompts whose tracks are known."""
    fields = typed_fields(GenerationRequest)
    changes: dict[str, Any] = {}
    tracks: Sequence[Any] = ()
    if isinstance(request.tracks, tuple) and not any(type_problems(request.tracks[:0], fields["tracks"], "")):
        tracks = request.tracks
    else:
        found.add(f"tracks: expected a list of TrackPrompt, got {spell(request.tracks)}.")
    prompts = []
    for index, prompt in enumerate(tracks):
        if isinstance(prompt, TrackPrompt):
            sound = _without_wrong_types(prompt, f"tracks[{index}]", found)
            prompts += [] if sound is None else [sound]
        else:
            found.add_at(f"tracks[{index}]", f"tracks[{index}] is a {type(prompt).__name__}. Give a TrackPrompt.")
    config: InferenceConfig | None = None
    if isinstance(request.config, InferenceConfig):
        config = _without_wrong_types(request.config, "config", found)
    else:
        found.add(f"config: expected an InferenceConfig, got {spell(request.config)}.")
    for _, problem in type_problems(request.controls, fields["controls"], "request"):
        found.add(problem.removeprefix("request."))
        changes["controls"] = {}
    return attrs.evolve(request, tracks=tracks, config=config or InferenceConfig(), **changes), prompts


def _without_wrong_types(record: Record, path: str, found: Found) -> Record | None:
    """``record`` with the defaults in place of values of a wrong type; None where one has no default."""
    changes: dict[str, Any] = {}
    for field in typed_fields(type(record)).values():
        for place, problem in type_problems(getattr(record, field.name), field, path):
            found.add_at(place, problem)
            changes[field.name] = field.default
    if attrs.NOTHING in changes.values():
        return None
    made = {
        name: default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]
        for name, default in changes.items()
    }
    sound: Record = attrs.evolve(record, **made)  # type: ignore[misc]
    return sound


def _of_config(config: InferenceConfig, encoder: Encoder, trained: TrainedWindows, found: Found) -> None:
    for problem in (*out_of_range(config), *_of_window(config, encoder, trained)):
        found.add(problem)


def out_of_range(config: InferenceConfig) -> Iterator[str]:
    """Problems of numbers that no model supports."""
    for field in attrs.fields(InferenceConfig):
        name, value, limits = field.name, getattr(config, field.name), field.metadata.get("limits")
        if name in ("model_dim", "window_bars") and config.model_dim == config.window_bars:
            # Two names of one value.
            name, limits = "model_dim (window_bars)", limits if name == "model_dim" else None
        if limits is not None and not isinstance(value, str) and not limits.allow(value):
            auto = '"auto" or ' if field.default == "auto" else ""
            yield f"config.{name} is {spell(value)}. Choose {auto}a value {_within(limits)}."


def _within(limits: Limits) -> str:
    """Limits in words: ``from 0 to 100``, ``above 0 and up to 1``, ``from 0 to below 1``."""
    low = f"above {limits.low} and up" if limits.above else f"from {limits.low}"
    return f"{low} to {'below ' if limits.below else ''}{limits.high}"


def _of_window(config: InferenceConfig, encoder: Encoder, trained: TrainedWindows) -> Iterator[str]:
    if config.model_dim != config.window_bars:
        yield (
            f"config.model_dim is {config.model_dim} and config.window_bars {config.window_bars}: "
            "both name the window. Give one of them."
        )
    sizes, most = trained.sizes, trained.max_tracks
    window = config.model_dim
    if not isinstance(window, str) and window > 0 and sizes and window not in sizes:
        yield (
            f"config.model_dim (window_bars) is {window}: the model never saw such a window. "
            f"Choose one of {', '.join(map(str, sizes))}."
        )
    writes = config.bars_per_step
    if not isinstance(window, str) and not isinstance(writes, str) and writes > window > 0:
        yield (
            f"config.bars_per_step is {writes}, and the window has {window} bars: a step writes none that it does not "
            f"see. Choose at most {window}."
        )
    at_once = config.tracks_per_step
    if most is not None and not isinstance(at_once, str) and at_once > most:
        yield f"config.tracks_per_step is {at_once}: the model never saw more than {most} at once. Choose at most that."
    if config.mask_mode == "token" and "mask_bar" not in encoder.provides:
        yield (
            'config.mask_mode is "token", but the encoder has no MASK_BAR token. '
            'Choose "attention", which needs none, or "remove".'
        )


def _of_controls(controls: Mapping[str, Any], encoder: Encoder, found: Found) -> None:
    for name in known_names(controls, _PIECE_CONTROLS, found):
        value = controls[name]
        if name == "genre":
            if "genre" not in encoder.provides:
                found.add("controls.genre: the encoder has no genres. Leave it out.")
            elif not isinstance(value, str) or encoder.genre_id(value) < 0:
                found.add(
                    f"controls.genre: the encoder does not know {spell(value)}. Choose a name of its genre_groups."
                )
        elif type(value) not in (bool, int) or value not in (0, 1):
            found.add(f"controls.{name} is {spell(value)}. Choose true or false.")
        elif f"use_{name}" not in encoder.provides:
            found.add(f"controls.{name}: the encoder cannot switch it. Leave it out.")


def _of_places(record: InferenceConfig | TrackPrompt, count: int, of: str, found: Found) -> None:
    """Bars or tracks (``of``) in lists of ``record`` that a score with ``count`` of them does not have."""
    for field in attrs.fields(type(record)):
        if field.metadata.get("places") != of or field.name == "id":
            continue
        outside = {place for place in getattr(record, field.name) if not 0 <= place < count}
        if not outside:
            continue
        if isinstance(record, TrackPrompt):
            after = f": out of range. Bars are 0 to {count - 1}."
            found.add(f"{field.name} ", record.id, bars=outside, after=after)
        else:
            after = f": there is no such track. Tracks are 0 to {count - 1}."
            found.add(f"config.{field.name} ", bars=outside, after=after)


def _of_prompt(prompt: TrackPrompt, tracks: Sequence[Track], num_bars: int, encoder: Encoder, found: Found) -> None:
    if not 0 <= prompt.id < len(tracks):
        found.add(f"there is no such track. Tracks are 0 to {len(tracks) - 1}.", prompt.id)
        return
    _of_places(prompt, num_bars, "bar", found)
    both = {*prompt.bars} & {*prompt.mask_bars}
    if both:
        after = " are to be written and masked at once. Leave them out of bars or of mask_bars."
        found.add("bars ", prompt.id, bars=both, after=after)
    if prompt.ignore and prompt.bars:
        found.add("ignored, although bars of it are to be written. Leave out ignore, or bars.", prompt.id)
    if prompt.bars and not prompt.autoregressive and not prompt.ignore and "infill" not in encoder.provides:
        found.add("the encoder has no infilling. Use autoregressive=True.", prompt.id)
    _of_attributes(prompt, tracks[prompt.id], encoder, found)
    check_controls(prompt, tracks, num_bars, encoder, found)


def _of_attributes(prompt: TrackPrompt, track: Track, encoder: Encoder, found: Found) -> None:
    for problem in _of_levels(prompt.attributes, "track", track, encoder):
        found.add(f"attributes.{problem}", prompt.id)
    for bar, levels in prompt.bar_attributes.items():
        for problem in _of_levels(levels, "bar", track, encoder):
            found.add("bar_attributes[", prompt.id, bars=[bar], after=f"].{problem}")


def _of_levels(levels: Mapping[str, int], level: str, track: Track, encoder: Encoder) -> Iterator[str]:
    known = {attribute.name: attribute for attribute in encoder.attributes if attribute.level == level}
    usable = {name for name, found in known.items() if found.size and found.applies_to(track.is_drum)}
    listed = f"Available: {', '.join(sorted(usable)) or 'none'}."
    kind = "drum" if track.is_drum else "melodic"
    unknown = 0
    for name, value in levels.items():
        attribute = known.get(name) or (known.get(f"bar_{name}") if level == "bar" else None)
        if attribute is None:
            unknown += 1
            if unknown <= MOST_LISTED:
                hint = nearest(key_name(name), usable)
                yield f"{key_name(name)}: the encoder has no such {level} attribute.{hint} {listed}"
        elif attribute.missing:
            yield (
                f"{name}: its plugin is not installed here as the model was trained with it. Install "
                f"{key_name(attribute.missing)}, or leave the attribute out. {listed}"
            )
        elif not attribute.size:
            yield f"{name}: the encoder's vocabulary has no token for it. {listed}"
        elif not attribute.applies_to(track.is_drum):
            yield f"{name}: it does not apply to a {kind} track. {listed}"
        elif not 0 <= value < attribute.size:
            yield f"{name} is {value}. Levels are 0 to {attribute.size - 1}."


def _of_seen_tracks(request: GenerationRequest, count: int, trained: TrainedWindows, found: Found) -> None:
    """Add a problem if too many tracks are seen and the plan may leave none of them out."""
    config, most = request.config, trained.max_tracks
    if config.context == "auto" or most is None:
        return
    left_out = {prompt.id for prompt in request.tracks if prompt.ignore}
    if config.context == "listed":
        left_out |= {*config.context_drop} - {*config.context_keep}
    seen = len({*range(count)} - left_out)
    if seen > most:
        found.add(
            f'config.context is "{config.context}", so {seen} tracks are seen at once: the model never saw more than '
            f'{most}. Choose "auto", or ignore tracks.'
        )


def _of_signatures(
    request: GenerationRequest, seen: Sequence[int], tracks: Sequence[Track], encoder: Encoder, found: Found
) -> None:
    """Add a problem for the bars among ``seen`` (those that a step sees) that the encoder cannot write."""
    ignored = {prompt.id for prompt in request.tracks if prompt.ignore}
    rewritten = rewritten_cells(request)
    for track in tracks:
        bars = [bar for bar in seen if bar < len(track.bars) and (track.index, bar) not in rewritten]
        if track.index in ignored or not bars:
            continue
        run = np.asarray(bars) + track.bar_run.start
        columns = track.score.columns
        numerators, denominators = columns.bar_numerator[run], columns.bar_denominator[run]
        accepted = encoder.accepts_signatures(numerators, denominators)
        if accepted is None or accepted.all():
            continue
        at = int(np.argmin(accepted))
        found.add(
            f"bar {bars[at]} is in {numerators[at]}/{denominators[at]}, a time signature that the encoder cannot "
            "write. Ask for other bars, or ignore the track.",
            track.index,
        )
        if columns.track_bar_end is None:  # the other tracks have the same bars
            return
