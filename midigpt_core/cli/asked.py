"""Turns the flags of ``midigpt generate`` into a score to work on and a request for the engine."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from attrs import field, frozen

from midigpt_core.cli.note_options import OPTION_NAMES, contradictions, controls_of, read_bar_option, read_option
from midigpt_core.cli.places import bars_of, tracks_of
from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from midigpt_core.cli.note_options import NoteOption
    from midigpt_core.contracts import Encoder
    from midigpt_core.inference import GenerationRequest, TrackPrompt
    from midigpt_core.inference.trained import TrainedWindows
    from midigpt_core.score import Score

#: The most bars that one command may add; --bars must stay below this number too. More is almost surely a mistake.
_MOST_BARS = 10_000
#: The options that control notes, as Python names them.
NOTE_FLAGS = tuple(name.replace("-", "_") for name in OPTION_NAMES)
_LENGTH_UNKNOWN = "without --input, --bars must give the length of the new piece, e.g. --bars 0-7."


@frozen(kw_only=True)
class Flags:
    """The flags as given on the command line."""

    has_input: bool
    tracks: str | None
    bars: str | None
    new_tracks: Sequence[str]
    continue_bars: int | None
    autoregressive: bool
    attributes: Sequence[str]
    #: Values of the options that control notes, by the option's name, and those of --bar-control.
    note_options: Mapping[str, Sequence[str]] = field(factory=dict)
    bar_controls: Sequence[str] = ()
    genre: str | None = None
    no_velocity: bool = False
    no_microtiming: bool = False


@frozen(kw_only=True)
class Asked:
    """The parsed flags."""

    tracks: tuple[int, ...] | None
    bars: tuple[int, int] | None
    #: For each new track: its program, and whether it is a drum track.
    new_tracks: tuple[tuple[int, bool], ...]
    continue_bars: int
    autoregressive: bool
    #: (track, or None for all tracks that are written; name; level).
    attributes: tuple[tuple[int | None, str, int], ...]
    note_options: tuple[NoteOption, ...] = ()
    #: Controls of the whole piece.
    controls: Mapping[str, Any] = field(factory=dict)
    problems: tuple[str, ...] = field(default=())


def read_flags(flags: Flags) -> Asked:
    """Parse the flags. ``problems`` of the result has a line for each flag that is invalid or contradicts another."""
    problems: list[str] = []

    def read(option: str, text: str | None, parse: Callable[[str], Any]) -> Any:
        try:
            return None if text is None else parse(text)
        except click.BadParameter as error:
            problems.append(f"{option}: {error.message}")
            return None

    tracks = read("--track", flags.tracks, tracks_of)
    bars = read("--bars", flags.bars, bars_of)
    new_tracks = [read("--new-track", text, _new_track) for text in flags.new_tracks]
    attributes = [read("--attribute", text, _attribute) for text in flags.attributes]
    note_options = [
        read(f"--{name}", text, partial(read_option, name))
        for name, texts in flags.note_options.items()
        for text in texts
    ]
    note_options += [read("--bar-control", text, read_bar_option) for text in flags.bar_controls]
    controls = [option for option in note_options if option is not None]
    problems.extend(_repeated(attributes))
    problems.extend(contradictions(controls))
    problems.extend(_contradictions(flags, bars))
    return Asked(
        tracks=None if tracks is None else tuple(tracks),
        bars=bars,
        new_tracks=tuple(track for track in new_tracks if track is not None),
        continue_bars=flags.continue_bars or 0,
        autoregressive=flags.autoregressive,
        attributes=tuple(attribute for attribute in attributes if attribute is not None),
        note_options=tuple(controls),
        controls=_controls_of_piece(flags),
        problems=tuple(problems),
    )


def _controls_of_piece(flags: Flags) -> dict[str, Any]:
    switched_off = {"velocity": flags.no_velocity, "microtiming": flags.no_microtiming}
    controls: dict[str, Any] = {name: False for name, off in switched_off.items() if off}
    return controls if flags.genre is None else {**controls, "genre": flags.genre}


def _repeated(attributes: Sequence[tuple[int | None, str, int] | None]) -> Iterator[str]:
    counts = Counter((track, name) for track, name, _ in filter(None, attributes))
    for (track, name), count in counts.items():
        if count > 1:
            where = "" if track is None else f" of track {track}"
            yield f"--attribute: {name}{where} is given {count} times. Keep one of them."


def _contradictions(flags: Flags, bars: tuple[int, int] | None) -> Iterator[str]:
    adds = flags.continue_bars is not None
    if flags.tracks is None and not flags.new_tracks and not adds:
        yield "there is nothing to write. Give --track with --bars, --new-track, or --continue."
    if flags.tracks is not None and flags.bars is None and not adds:
        yield "--track needs --bars, e.g. --bars 8-11."
    if adds and flags.bars is not None:
        yield "--continue and --bars both say which bars to write. Keep one of them."
    if not flags.has_input:
        if flags.tracks is not None or adds:
            yield "--track and --continue need a piece. Give --input, or start a new one with --new-track and --bars."
        elif flags.bars is None:
            yield _LENGTH_UNKNOWN
    if bars is not None and bars[0] > bars[1]:
        yield f"--bars: {flags.bars} ends before it begins. Write the first bar first, e.g. {bars[1]}-{bars[0]}."
    if bars is not None and bars[1] >= _MOST_BARS:
        yield f"--bars: {flags.bars} goes past bar {_MOST_BARS - 1}, the last that can be written. Give fewer bars."
    if adds and not 1 <= (flags.continue_bars or 0) <= _MOST_BARS:
        yield f"--continue {flags.continue_bars}: give the number of bars to add, 1 to {_MOST_BARS}."


def score_of(asked: Asked, given: Score | None) -> Score:
    """The given piece, with empty bars and tracks added for the music to be written.

    Without a piece (None), a new one that ends with ``asked.bars``; raises RequestValidationError if these are not set.
    """
    from midigpt_core.inference import RequestValidationError
    from midigpt_core.score.editing import empty_score, num_bars, with_bars, with_track

    if given is None:
        if asked.bars is None:
            raise RequestValidationError([_LENGTH_UNKNOWN])
        return empty_score(asked.bars[1] + 1, asked.new_tracks)
    score = given
    if asked.continue_bars:
        score = with_bars(score, num_bars(score) + asked.continue_bars)
    for program, drum in asked.new_tracks:
        score = with_track(score, program, drum=drum)
    return score


def request_of(
    asked: Asked, score: Score, encoder: Encoder, config: Mapping[str, Any], trained: TrainedWindows
) -> GenerationRequest:
    """Build the request for ``score``, which :func:`score_of` returned.

    Raises RequestValidationError with every problem of the request and of its configuration.
    """
    from midigpt_core.inference import GenerationRequest, InferenceConfig, RequestValidationError, validation
    from midigpt_core.inference.fields import sound_part

    prompts, problems = _prompts(asked, score, encoder)
    settings, _ = sound_part(config, InferenceConfig, "config")
    problems += _wrong_values(config)
    request = GenerationRequest(prompts, settings, asked.controls)
    problems += validation.problems(request, score, encoder, trained)
    if problems:
        raise RequestValidationError(problems)
    return request


def wrong_fields(config: Mapping[str, Any]) -> list[str]:
    """Problems of the fields from the command line that depend on neither the piece nor the model."""
    from midigpt_core.inference import InferenceConfig
    from midigpt_core.inference.fields import sound_part
    from midigpt_core.inference.validation import out_of_range

    sound, _ = sound_part(config, InferenceConfig, "config")
    return [*_wrong_values(config), *out_of_range(sound)]


def _wrong_values(config: Mapping[str, Any]) -> list[str]:
    """Problems with the names and types of fields from the command line."""
    from midigpt_core.inference import InferenceConfig
    from midigpt_core.inference.fields import sound_part

    _, problems = sound_part(config, InferenceConfig, "config")
    # Fields with a flag of their own may not have come from --set.
    flags = tuple(f"config.{name}:" for name in ("seed", "temperature", "num_candidates", "infill_probability"))
    return [problem if problem.startswith(flags) else f"--set: {problem}" for problem in problems]


def _prompts(asked: Asked, score: Score, encoder: Encoder) -> tuple[list[TrackPrompt], list[str]]:
    from midigpt_core.inference import TrackPrompt
    from midigpt_core.score.editing import num_bars

    had = len(score.tracks) - len(asked.new_tracks)
    length = num_bars(score)
    bars = {track: _bars_to_write(asked, track >= had, length) for track in _written(asked, score, had)}
    levels = {attribute.name: attribute.level for attribute in encoder.attributes}
    problems = [
        f"--attribute {track}:{name}={level}: track {track} is not written, only tracks {', '.join(map(str, bars))}."
        for track, name, level in asked.attributes
        if track is not None and track not in bars
    ]
    problems += _unwritten(asked.note_options, bars)
    prompts = []
    for track, written in bars.items():
        of_track: dict[str, int] = {}
        of_bars: dict[str, int] = {}
        for only, given, level in asked.attributes:
            name = _full_name(given, levels)
            if only in (None, track):
                # An unknown name counts as a track attribute; validation reports it.
                (of_bars if levels.get(name) == "bar" else of_track)[name] = level
        controls, bar_controls = controls_of(asked.note_options, track, written)
        prompt = TrackPrompt(
            id=track,
            bars=written,
            autoregressive=asked.autoregressive or track >= had or bool(asked.continue_bars),
            attributes=of_track,
            bar_attributes={bar: dict(of_bars) for bar in written} if of_bars else {},
            controls=controls,
            bar_controls=bar_controls,
        )
        prompts.append(prompt)
    return prompts, problems


def _full_name(name: str, known: Mapping[str, Any]) -> str:
    """``plugin/name`` for the name of a plugin's attribute control, if only one of ``known`` has it."""
    found = [full for full in known if full.rpartition("/")[2] == name]
    return found[0] if name not in known and len(found) == 1 else name


def _unwritten(options: Sequence[NoteOption], bars: Mapping[int, range]) -> Iterator[str]:
    """Options for tracks or bars that are not written."""
    tracks = ", ".join(map(str, bars))
    for option in options:
        name = f"--{option.name}" if option.bars is None else "--bar-control"
        if option.track is not None and option.track not in bars:
            yield f"{name} {option.track}:…: track {option.track} is not written, only tracks {tracks}."
        elif option.bars is not None:
            first, last = option.bars
            written = [own for track, own in bars.items() if option.track in (None, track)]
            if not all(first in own and last in own for own in written):
                yield f"{name} {first}-{last}:…: not all of these bars are written."


def _written(asked: Asked, score: Score, had: int) -> list[int]:
    """The tracks to write, new ones last.

    ``--continue`` alone goes on with the tracks that have notes: others, such as the track of a file's lyrics, are no
    parts of the music. A piece without any note goes on in all of them.
    """
    continued: Sequence[int] = ()
    if asked.continue_bars:
        continued = [track.index for track in score.tracks[:had] if len(track.notes)] or range(had)
    chosen = continued if asked.tracks is None else asked.tracks
    return list(dict.fromkeys([*chosen, *range(had, had + len(asked.new_tracks))]))


def _bars_to_write(asked: Asked, new: bool, num_bars: int) -> range:
    if asked.bars is not None:
        return range(asked.bars[0], asked.bars[1] + 1)
    return range(0 if new else num_bars - asked.continue_bars, num_bars)


def config_of(assignments: Sequence[str], flags: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fields of an InferenceConfig from ``--set`` values and flags (None: not given), and the problems with them."""
    from midigpt_core.config.overrides import read_assignment, read_value

    values: dict[str, Any] = {}
    problems = []
    for assignment in assignments:
        try:
            name, text = read_assignment(assignment)
        except ConfigError:
            problems.append(f"--set {assignment!r} is not of the form key=value. Write e.g. --set top_p=0.95.")
            continue
        values[name] = read_value(text)
    for name, value in flags.items():
        if value is None:
            continue
        if name in values:
            problems.append(f"--set {name} and the flag of that name set the same field. Keep one of them.")
        values[name] = value
    return values, problems


def _new_track(text: str) -> tuple[int, bool]:
    if text == "drums":
        return 0, True
    match = re.fullmatch(r"(?:program=)?([0-9]{1,3})", text)
    if match is None or int(match[1]) > 127:
        raise click.BadParameter(f"{text!r} is not a track. Write program=0 to program=127, or drums.")
    return int(match[1]), False


def _attribute(text: str) -> tuple[int | None, str, int]:
    match = re.fullmatch(r"(?:([0-9]{1,9}):)?([A-Za-z_][A-Za-z0-9_./-]*)=(-?[0-9]{1,9})", text)
    if match is None:
        raise click.BadParameter(
            f"{text!r} is not an attribute. Write NAME=LEVEL or TRACK:NAME=LEVEL, e.g. 2:max_polyphony=3."
        )
    return None if match[1] is None else int(match[1]), match[2], int(match[3])
