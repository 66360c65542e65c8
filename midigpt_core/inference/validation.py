"""What is wrong with a request, all of it at once, before anything is sampled."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from midigpt_core.config.structure import Mismatch, structure
from midigpt_core.errors import MidigptError, nearest
from midigpt_core.inference import planner
from midigpt_core.inference.request import GenerationRequest, InferenceConfig, TrackPrompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.inference.trained import TrainedWindows
    from midigpt_core.score import Score, Track

_TRACK_CONTROLS = ("time_signature",)
_PIECE_CONTROLS = ("genre", "microtiming", "velocity")
#: Field of InferenceConfig -> least and largest value, and whether the largest itself is allowed.
_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 100),
    "top_k": (0, 2**31 - 1),
    "top_p": (0, 1),
    "mask_k": (0, 2**31 - 1),
    "mask_p": (0, 1),
    "seed": (-1, 2**63 - 1),
    "ar_overlap": (0, 1),
    "min_overlap_bars": (0, 2**31 - 1),
    "budget_margin": (1, 100),
    "num_candidates": (1, 1024),
    "polyphony_hard_limit": (0, 2**31 - 1),
    "density_hard_limit": (0, 2**31 - 1),
    "max_attempts": (1, 1000),
    "novelty_threshold": (0, 1),
    "temperature_escalation": (0.01, 100),
}


class RequestValidationError(MidigptError):
    """A request that cannot be carried out. ``problems`` has one line for each thing that is wrong."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        numbered = [f"({number}) {problem}" for number, problem in enumerate(problems, 1)]
        text = problems[0] if len(problems) == 1 else f"{len(problems)} problems: {' '.join(numbered)}"
        super().__init__(text)


def check(request: GenerationRequest, score: Score, encoder: Encoder, trained: TrainedWindows) -> None:
    """Raise :class:`RequestValidationError` if :func:`problems` finds any."""
    found = problems(request, score, encoder, trained)
    if found:
        raise RequestValidationError(found)


def problems(request: GenerationRequest, score: Score, encoder: Encoder, trained: TrainedWindows) -> list[str]:
    """What is wrong with a request, one line each; empty: nothing. ``trained``: what the model saw."""
    mistyped = list(_wrong_types(request))
    if mistyped:  # nothing can be said of the values
        return mistyped
    found = list(_of_config(request.config, encoder, trained))
    found.extend(_of_controls(request.controls, encoder))
    tracks = score.tracks
    num_bars = max((_num_bars(track) for track in tracks), default=0)
    if not tracks or not num_bars:
        found.append(
            "the score is empty: it has no tracks, or no bars. Add the tracks and bars that are to be written."
        )
        return found
    for track, count in Counter(prompt.id for prompt in request.tracks).items():
        if count > 1:
            found.append(f"track {track} has {count} prompts. Ask everything of a track in one prompt.")
    for prompt in request.tracks:
        found.extend(f"track {prompt.id}: {problem}" for problem in _of_prompt(prompt, tracks, num_bars, encoder))
    found.extend(_of_seen_tracks(request, len(tracks), trained))
    found.extend(_of_targets(request, tracks, num_bars, encoder, trained))
    return found


def _wrong_types(request: GenerationRequest) -> Iterator[str]:
    yield from _mistyped(request.config, "config")
    for index, prompt in enumerate(request.tracks):
        if isinstance(prompt, TrackPrompt):
            yield from _mistyped(prompt, f"tracks[{index}]")
        else:
            yield f"tracks[{index}] is a {type(prompt).__name__}. Give a TrackPrompt."


def _mistyped(record: InferenceConfig | TrackPrompt, path: str) -> Iterator[str]:
    for field in attrs.fields(attrs.resolve_types(type(record))):
        try:
            structure(getattr(record, field.name), field.type, f"{path}.{field.name}")
        except Mismatch as mismatch:
            yield from (f"{where}: {problem}." for where, problem in mismatch.problems)


def _of_config(config: InferenceConfig, encoder: Encoder, trained: TrainedWindows) -> Iterator[str]:
    for name, (least, largest) in _RANGES.items():
        value = getattr(config, name)
        if not least <= value <= largest:
            yield f"config.{name} is {value}. Choose a value from {least} to {largest}."
    for name in ("bars_per_step", "tracks_per_step", "model_dim"):
        value = getattr(config, name)
        if not isinstance(value, str) and value < 0:
            yield f'config.{name} is {value}. Choose "auto" or a number of at least 1.'
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
    at_once = config.tracks_per_step
    if most is not None and not isinstance(at_once, str) and at_once > most:
        yield f"config.tracks_per_step is {at_once}: the model never saw more than {most} at once. Choose at most that."
    if config.mask_mode == "token" and "mask_bar" not in encoder.provides:
        yield (
            'config.mask_mode is "token", but the encoder has no MASK_BAR token. '
            'Choose "attention", which needs none, or "remove".'
        )


def _of_controls(controls: Mapping[str, Any], encoder: Encoder) -> Iterator[str]:
    for name, value in controls.items():
        if name == "genre":
            if "genre" not in encoder.provides:
                yield "controls.genre: the encoder has no genres. Leave it out."
            elif not isinstance(value, str) or encoder.genre_id(value) < 0:
                yield f"controls.genre: the encoder does not know {value!r}. Choose a name of its genre_groups."
        elif name in ("velocity", "microtiming"):
            if value not in (0, 1):
                yield f"controls.{name} is {value!r}. Choose true or false."
            elif f"use_{name}" not in encoder.provides:
                yield f"controls.{name}: the encoder cannot switch it. Leave it out."
        else:
            known = ", ".join(_PIECE_CONTROLS)
            yield f"controls: there is no {name!r}.{nearest(name, _PIECE_CONTROLS)} Known: {known}."


def _of_prompt(prompt: TrackPrompt, tracks: Sequence[Track], num_bars: int, encoder: Encoder) -> Iterator[str]:
    if not 0 <= prompt.id < len(tracks):
        yield f"there is no such track. Tracks are 0 to {len(tracks) - 1}."
        return
    for name in ("bars", "mask_bars", "bar_attributes"):
        outside = sorted({bar for bar in getattr(prompt, name) if not 0 <= bar < num_bars})
        if outside:
            yield f"{name} {bar_ranges(outside)}: out of range. Bars are 0 to {num_bars - 1}."
    both = sorted({*prompt.bars} & {*prompt.mask_bars})
    if both:
        yield f"bars {bar_ranges(both)} are to be written and hidden at once. Leave them out of bars or of mask_bars."
    if prompt.ignore and prompt.bars:
        yield "it is ignored, and bars of it are to be written. Leave out ignore, or bars."
    if prompt.bars and not prompt.autoregressive and not prompt.ignore and "infill" not in encoder.provides:
        yield "the encoder has no infilling. Use autoregressive=True."
    yield from _of_attributes(prompt, tracks[prompt.id], encoder)
    yield from _of_track_controls(prompt, tracks, encoder)


def _of_attributes(prompt: TrackPrompt, track: Track, encoder: Encoder) -> Iterator[str]:
    yield from _of_levels("attributes", prompt.attributes, "track", track, encoder)
    for bar, levels in prompt.bar_attributes.items():
        yield from _of_levels(f"bar_attributes[{bar}]", levels, "bar", track, encoder)


def _of_levels(path: str, levels: Mapping[str, int], level: str, track: Track, encoder: Encoder) -> Iterator[str]:
    known = {attribute.name: attribute for attribute in encoder.attributes if attribute.level == level}
    for name, value in levels.items():
        attribute = known.get(name) or (known.get(f"bar_{name}") if level == "bar" else None)
        where = f"{path}.{name}"
        if attribute is None:
            listed = ", ".join(sorted(known)) or "none"
            yield f"{where}: the encoder has no such {level} attribute.{nearest(name, known)} Available: {listed}."
        elif not attribute.size:
            yield f"{where}: the encoder's vocabulary has no token for it. Leave it out."
        elif not attribute.applies_to(track.is_drum):
            kind = "drum" if track.is_drum else "melodic"
            yield f"{where}: it does not apply to a {kind} track. Leave it out."
        elif not 0 <= value < attribute.size:
            yield f"{where} is {value}. Levels are 0 to {attribute.size - 1}."


def _of_track_controls(prompt: TrackPrompt, tracks: Sequence[Track], encoder: Encoder) -> Iterator[str]:
    for name, value in prompt.controls.items():
        if name != "time_signature":
            known = ", ".join(_TRACK_CONTROLS)
            yield f"controls: there is no {name!r}.{nearest(name, _TRACK_CONTROLS)} Known: {known}."
            continue
        signature = signature_of(value, encoder)
        if signature is None:
            yield (
                f"controls.time_signature: the encoder cannot write {value!r}. "
                'Give one of its time_signatures as "n/d" or by its index.'
            )
            continue
        for other in tracks:
            taken = [bar for bar in prompt.bars if _differs(other, bar, signature) and other.index != prompt.id]
            if taken:
                yield (
                    f"controls.time_signature: track {other.index} has notes in bars {bar_ranges(sorted(taken))} under "
                    "another signature, and tracks share their bars. Leave it out, or write that track anew too."
                )
                break


def signature_of(value: object, encoder: Encoder) -> tuple[int, int] | None:
    """The time signature that a control asks for, if the encoder can write it."""
    signature: tuple[int, int] | None = None
    if isinstance(value, str):
        numerator, _, denominator = value.partition("/")
        if numerator.isdecimal() and denominator.isdecimal() and int(denominator):
            signature = int(numerator), int(denominator)
    elif type(value) is int and 0 <= value < len(encoder.time_signatures):
        signature = encoder.time_signatures[value]
    if signature is None or max(signature) >= 2**31:
        return None
    accepted = encoder.accepts_signatures(np.array([signature[0]], np.int32), np.array([signature[1]], np.int32))
    return signature if accepted is None or bool(accepted[0]) else None


def _differs(track: Track, bar: int, signature: tuple[int, int]) -> bool:
    if not 0 <= bar < _num_bars(track):
        return False
    view = track.bars[bar]
    return len(view.notes) > 0 and (view.numerator, view.denominator) != signature


def _of_seen_tracks(request: GenerationRequest, count: int, trained: TrainedWindows) -> Iterator[str]:
    """Too many tracks that none may be left out of; otherwise the plan leaves some out and says so."""
    config, most = request.config, trained.max_tracks
    if config.context == "auto" or most is None:
        return
    left_out = {prompt.id for prompt in request.tracks if prompt.ignore}
    if config.context == "listed":
        left_out |= {*config.context_drop} - {*config.context_keep}
    seen = len({*range(count)} - left_out)
    if seen > most:
        yield (
            f'config.context is "{config.context}", so {seen} tracks are seen at once: the model never saw more than '
            f'{most}. Choose "auto", or ignore tracks.'
        )


def _of_targets(
    request: GenerationRequest, tracks: Sequence[Track], num_bars: int, encoder: Encoder, trained: TrainedWindows
) -> Iterator[str]:
    steps = planner.plan(request, num_bars, trained)
    # Bars that are not there have been named already.
    if not steps and not any(prompt.bars and not prompt.ignore for prompt in request.tracks):
        yield "no bar is to be written. Give a track bars, and do not ignore it."
    seen = sorted({bar for step in steps for bar in range(step.start_bar, min(step.end_bar, num_bars))})
    ignored = {prompt.id for prompt in request.tracks if prompt.ignore}
    rewritten = {
        (prompt.id, bar) for prompt in request.tracks for bar in prompt.bars if "time_signature" in prompt.controls
    }
    for track in tracks:
        bars = [bar for bar in seen if bar < _num_bars(track) and (track.index, bar) not in rewritten]
        if track.index in ignored or not bars:
            continue
        run = np.asarray(bars) + track.bar_run.start
        columns = track.score.columns
        numerators, denominators = columns.bar_numerator[run], columns.bar_denominator[run]
        accepted = encoder.accepts_signatures(numerators, denominators)
        if accepted is None or accepted.all():
            continue
        at = int(np.argmin(accepted))
        yield (
            f"track {track.index}: bar {bars[at]} is in {numerators[at]}/{denominators[at]}, a time signature that the "
            "encoder cannot write. Ask for other bars, or ignore the track."
        )
        if columns.track_bar_end is None:  # the other tracks have the same bars
            return


def _num_bars(track: Track) -> int:
    run = track.bar_run
    return int(run.stop - run.start)


def bar_ranges(bars: Sequence[int]) -> str:
    """Ascending bars as ``0-3, 8``."""
    runs: list[list[int]] = []
    for bar in bars:
        if runs and bar == runs[-1][-1] + 1:
            runs[-1][1:] = [bar]
        else:
            runs.append([bar])
    return ", ".join("-".join(map(str, run)) for run in runs)
