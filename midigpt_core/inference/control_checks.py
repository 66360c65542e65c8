"""Checks the controls of tracks and bars, alone and together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from midigpt_core.config.wording import MOST_LISTED, key_name, spell
from midigpt_core.errors import nearest
from midigpt_core.inference.controls import NOTE_CONTROLS, PitchMask, Remix, RhythmMask, read_control

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.inference.controls import NoteControl
    from midigpt_core.inference.problems import Found
    from midigpt_core.inference.request import GenerationRequest, TrackPrompt
    from midigpt_core.score import Track

_TRACK_CONTROLS = (*NOTE_CONTROLS, "time_signature")
_WHAT_IT_NEEDS = {
    "pitch_mask": "The encoder's grammar cannot restrict pitches.",
    "rhythm_mask": "The encoder's grammar cannot restrict where notes begin.",
    "remix": "The encoder's grammar cannot rewrite the notes of a bar.",
}


@frozen
class ControlsOfBar:
    """The note controls that apply to a bar: its own, else those of its track."""

    pitch: PitchMask | None = None
    rhythm: RhythmMask | None = None
    remix: Remix | None = None


def plain_controls(prompt: TrackPrompt, bar: int) -> Mapping[str, Any]:
    """The plain values that apply to a bar."""
    return {**prompt.controls, **(prompt.bar_controls.get(bar) or {})}


def controls_by_bars(prompt: TrackPrompt) -> dict[ControlsOfBar, list[int]]:
    """The bars to write by their note controls. Values that cannot be read are left out."""
    read: dict[int, NoteControl | None] = {}

    def control(name: str, values: Mapping[str, Any]) -> Any:
        value = values.get(name)
        if value is None:
            return None
        if id(value) not in read:
            read[id(value)] = read_control(name, value)[0]
        return read[id(value)]

    by_bars: dict[ControlsOfBar, list[int]] = {}
    for bar in prompt.bars:
        values = plain_controls(prompt, bar)
        of_bar = ControlsOfBar(
            pitch=control("pitch_mask", values), rhythm=control("rhythm_mask", values), remix=control("remix", values)
        )
        by_bars.setdefault(of_bar, []).append(bar)
    return by_bars


def check_controls(prompt: TrackPrompt, tracks: Sequence[Track], num_bars: int, encoder: Encoder, found: Found) -> None:
    """Add the problems of a prompt's ``controls`` and ``bar_controls``."""
    if prompt.ignore and (prompt.controls or any(prompt.bar_controls.values())):
        found.add("ignored, although it has controls. Leave out ignore, or the controls.", prompt.id)
        return
    before = len(found)
    for problem in _of_values(prompt.controls, encoder):
        found.add(f"controls{problem}", prompt.id)
    written = {*prompt.bars}
    for bar, values in prompt.bar_controls.items():
        if bar not in written:
            after = "]: the bar is not written. Give controls of bars that are."
            found.add("bar_controls[", prompt.id, bars=[bar], after=after)
            continue
        for problem in _of_values(values or {}, encoder):
            found.add("bar_controls[", prompt.id, bars=[bar], after=f"]{problem}")
    for text, bars, after in _of_signatures(prompt, tracks, encoder):
        found.add(text, prompt.id, bars=bars, after=after)
    if len(found) > before:
        return
    for controls, bars in controls_by_bars(prompt).items():
        usable = [bar for bar in bars if 0 <= bar < num_bars]
        for text, of_bars in _together(controls, usable, prompt, tracks[prompt.id], encoder):
            found.add("bars ", prompt.id, bars=of_bars, after=f": {text}")


def known_names(
    controls: Mapping[str, Any], names: Sequence[str], found: Found, track: int | None = None
) -> Iterator[str]:
    """The known names among ``controls``; the others are added to ``found``."""
    for problem in _unknown(controls, names):
        found.add(f"controls{problem}", track)
    return (name for name in controls if name in names)


def _unknown(controls: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    unknown = [name for name in controls if name not in names]
    for number, name in enumerate(unknown[:MOST_LISTED]):
        key = key_name(name)
        # Once is enough.
        known = f" Known: {', '.join(names)}." if number == 0 else ""
        yield f": there is no {key!r}.{nearest(key, names)}{known}"
    if len(unknown) > MOST_LISTED:
        yield f": {len(unknown) - MOST_LISTED:,} more that there are not."


def _of_values(controls: Mapping[str, Any], encoder: Encoder) -> Iterator[str]:
    """Problems of the names and of each note control alone; each begins with the path below ``controls``."""
    yield from _unknown(controls, _TRACK_CONTROLS)
    for name in (name for name in controls if name in NOTE_CONTROLS):
        if name not in encoder.provides or encoder.note_grid is None:
            yield f".{name} is not supported. {_WHAT_IT_NEEDS[name]} Leave it out."
            continue
        control, problems = read_control(name, controls[name])
        yield from (f".{name}{problem}" for problem in problems)
        if isinstance(control, RhythmMask) and control.positions is not None:
            late = [tick for tick, _ in control.positions if tick >= encoder.note_grid.positions]
            if late:
                last = encoder.note_grid.positions - 1
                yield f".rhythm_mask.positions: the encoder has no tick {late[0]} in a bar. Ticks are 0 to {last}."


def _together(
    controls: ControlsOfBar, bars: Sequence[int], prompt: TrackPrompt, track: Track, encoder: Encoder
) -> Iterator[tuple[str, Sequence[int]]]:
    """Problems of the controls of some bars in combination, and the bars."""
    grid = encoder.note_grid
    if grid is None:
        return
    pitch, rhythm = controls.pitch, controls.rhythm
    if rhythm is not None and controls.remix is not None:
        yield "remix and rhythm_mask both decide where notes begin. Keep one of them.", bars
        return
    playable = grid.pitches
    if pitch is not None:
        playable = int(pitch.playable(drum=track.is_drum, pitches=grid.pitches).sum())
        if not playable:
            yield (
                f"pitch_mask leaves no pitch of the encoder's 0 to {grid.pitches - 1} with a weight above 0. "
                "Allow more pitches, or change the shape.",
                bars,
            )
    if rhythm is None or rhythm.positions is None:
        return
    most = max(count for _, count in rhythm.positions)
    if most > playable > 0:
        yield (
            f"rhythm_mask has {most} notes at one position, and pitch_mask leaves {playable} pitches. "
            "Allow more pitches, or fewer notes.",
            bars,
        )
    first = rhythm.positions[0][0]
    short = [bar for bar in bars if bar_ticks(prompt, track, bar, encoder) <= first]
    if short:
        yield f"too short for rhythm_mask, whose first position is {first}. Give an earlier one.", short


def bar_ticks(prompt: TrackPrompt, track: Track, bar: int, encoder: Encoder) -> int:
    """The length of a bar that is written, in the encoder's ticks."""
    assert encoder.note_grid is not None
    signature = signature_of(plain_controls(prompt, bar).get("time_signature"), encoder)
    if signature is None:
        view = track.bars[min(bar, len(track.bars) - 1)]
        signature = (view.numerator, view.denominator)
    return int(4 * signature[0] / signature[1] * encoder.note_grid.resolution + 0.5)


def _of_signatures(
    prompt: TrackPrompt, tracks: Sequence[Track], encoder: Encoder
) -> Iterator[tuple[str, Sequence[int], str]]:
    """Problems of time signatures: a text, bars, and the text after them."""
    own = {
        bar: values["time_signature"]
        for bar, values in prompt.bar_controls.items()
        if values is not None and "time_signature" in values
    }
    asked: list[tuple[str, Sequence[int], str, Any, Sequence[int]]] = []
    if "time_signature" in prompt.controls:
        bars = [bar for bar in prompt.bars if bar not in own]
        asked.append(("controls.time_signature", (), "", prompt.controls["time_signature"], bars))
    asked += [("bar_controls[", [bar], "].time_signature", value, [bar]) for bar, value in own.items()]
    for text, of_bars, after, value, at in asked:
        signature = signature_of(value, encoder)
        if signature is None:
            problem = (
                f': the encoder cannot write {spell(value)}. Give one of its time_signatures as "n/d" or by its index.'
            )
            yield (text, of_bars, after + problem) if after else (text + problem, (), "")
            continue
        rest = " under another signature, and tracks share their bars. Leave it out, or remove those notes first."
        for other in tracks:
            taken = [bar for bar in at if other.index != prompt.id and _differs(other, bar, signature)]
            if taken and after:
                yield text, of_bars, f"{after}: track {other.index} has notes in the bar{rest}"
            elif taken:
                yield f"{text}: track {other.index} has notes in bars ", taken, rest
            if taken:
                break


def check_signatures_agree(prompts: Sequence[TrackPrompt], encoder: Encoder, found: Found) -> None:
    """Add a problem for bars that tracks want in different signatures."""
    asked: dict[int, tuple[int, int]] = {}
    apart: set[int] = set()
    for prompt in prompts:
        for bar, signature in signatures_of(prompt, encoder):
            if asked.setdefault(bar, signature) != signature:
                apart.add(bar)
    if apart:
        after = ": time_signature differs between tracks, which share their bars. Give the same one."
        found.add("bars ", bars=apart, after=after)


def signatures_of(prompt: TrackPrompt, encoder: Encoder) -> Iterator[tuple[int, tuple[int, int]]]:
    """The bars of a prompt that get a time signature, and which."""
    if "time_signature" not in prompt.controls and not any(prompt.bar_controls.values()):
        return
    for bar in prompt.bars:
        signature = signature_of(plain_controls(prompt, bar).get("time_signature"), encoder)
        if signature is not None:
            yield bar, signature


def rewritten_cells(request: GenerationRequest) -> set[tuple[int, int]]:
    """The cells that get a time signature."""
    return {
        (prompt.id, bar)
        for prompt in request.tracks
        for bar in prompt.bars
        if "time_signature" in plain_controls(prompt, bar)
    }


def signature_of(value: object, encoder: Encoder) -> tuple[int, int] | None:
    """The time signature that a control asks for, if the encoder can write it."""
    signature: tuple[int, int] | None = None
    if isinstance(value, str):
        written = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", value)
        if written is not None and int(written[2]):
            signature = int(written[1]), int(written[2])
    elif type(value) is int and 0 <= value < len(encoder.time_signatures):
        signature = encoder.time_signatures[value]
    if signature is None or max(signature) >= 2**31:
        return None
    accepted = encoder.accepts_signatures(np.array([signature[0]], np.int32), np.array([signature[1]], np.int32))
    return signature if accepted is None or bool(accepted[0]) else None


def _differs(track: Track, bar: int, signature: tuple[int, int]) -> bool:
    if not 0 <= bar < len(track.bars):
        return False
    view = track.bars[bar]
    return len(view.notes) > 0 and (view.numerator, view.denominator) != signature
