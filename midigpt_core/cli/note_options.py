"""Parses the options of ``midigpt generate`` that control notes: scales, pitches, rhythms, remixes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click
from attrs import frozen

from midigpt_core.cli.places import bars_of
from midigpt_core.inference.scales import GRID_UNITS, SCALES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_ROOTS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_WHICH = ("pitches", "pitch_classes", "scale")
#: What musicians call some of the scales.
_ALSO = {"minor": "natural_minor", "pentatonic": "major_pentatonic"}


@frozen(kw_only=True)
class NoteOption:
    """The value of one option."""

    #: As on the command line: ``scale``, ``pitch-shape``, …
    name: str
    #: The track that it is for; None: all that are written.
    track: int | None
    #: The first and last bar that it is for; None: all that are written.
    bars: tuple[int, int] | None
    #: Control -> its keys and values; ``time_signature`` -> text.
    controls: Mapping[str, Any]


def _scale(text: str) -> dict[str, Any]:
    found = re.fullmatch(r"(?:([A-Ga-g])([#b]?)[ _]+)?([a-z_ ]+)", text.strip())
    name = "" if found is None else re.sub(r"[ _]+", "_", found[3].strip())
    name = _ALSO.get(name, name)
    if found is None or name not in SCALES:
        raise click.BadParameter(
            f"{text!r} is not a scale. Write its root and name, e.g. D dorian. Scales: {', '.join(SCALES)}."
        )
    return {"pitch_mask": {"scale": name, "root": _pitch_class(found[1] or "C", found[2] or "")}}


def _pitch_class(letter: str, accidental: str) -> int:
    return (_ROOTS[letter.lower()] + {"#": 1, "b": -1}.get(accidental, 0)) % 12


def _pitches(text: str) -> dict[str, Any]:
    names = [re.fullmatch(r"([A-Ga-g])([#b]?)", part.strip()) for part in text.split(",")]
    if all(names):
        return {"pitch_mask": {"pitch_classes": sorted({_pitch_class(name[1], name[2]) for name in names if name})}}
    pitches: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"([0-9]{1,3})(?:-([0-9]{1,3}))?", part.strip())
        first, last = (-1, -1) if match is None else (int(match[1]), int(match[2] or match[1]))
        if not 0 <= first <= last <= 127:
            raise click.BadParameter(
                f"{text!r} are not pitches. Write MIDI numbers and ranges, e.g. 36,38 or 48-72, or names for every "
                "octave, e.g. C,Eb,G."
            )
        pitches.update(range(first, last + 1))
    return {"pitch_mask": {"pitches": sorted(pitches)}}


def _shape(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"(normal|uniform):(-?[0-9.]{1,12}),([0-9.]{1,12})", text)
    names = {"normal": ("mean", "std"), "uniform": ("min", "max")}
    try:
        values = [] if match is None else [float(match[2]), float(match[3])]
    except ValueError:
        values = []
    if match is None or not values:
        raise click.BadParameter(
            f"{text!r} is not a shape. Write normal:MEAN,DEVIATION or uniform:LOWEST,HIGHEST, e.g. normal:60,7."
        )
    shape = {"type": match[1], **dict(zip(names[match[1]], values, strict=True))}
    return {"pitch_mask": {"shape": shape}}


def _rhythm(text: str) -> dict[str, Any]:
    grid = re.fullmatch(r"([a-z_]+)(?::([0-9.]{1,12}))?", text)
    if grid is not None and grid[1] in GRID_UNITS:
        try:
            strength = float(grid[2] or 1)
        except ValueError:
            strength = -1.0
        if 0 <= strength <= 1:
            return {"rhythm_mask": {"grid": {"unit": grid[1], "strength": strength}}}
    positions = []
    listed, _, last = text.rpartition(",")
    exact = last.strip() == "exact"
    if not exact:
        listed = text
    for part in listed.split(","):
        match = re.fullmatch(r"([0-9]{1,5})(?:x([0-9]{1,3}))?", part.strip())
        if match is None:
            raise click.BadParameter(
                f"{text!r} is not a rhythm. Write ticks of a bar, with the number of notes where it is not 1, e.g. "
                "0,9x2,24 (0,9x2,24,exact: without microtiming), or a grid and its strength, e.g. eighth:0.8. Grids: "
                f"{', '.join(GRID_UNITS)}."
            )
        positions.append({"pos": int(match[1]), "polyphony": int(match[2] or 1)})
    return {"rhythm_mask": {"positions": positions, **({"microtiming": False} if exact else {})}}


def _remix(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"([01]?(?:\.[0-9]{1,9})?)(?:,(pitch|full))?", text)
    if match is None or not match[1] or not 0 < float(match[1]) <= 1:
        raise click.BadParameter(f"{text!r} is not a remix. Write the share of the notes, e.g. 0.5, or 0.5,full.")
    return {"remix": {"amount": float(match[1]), "mode": match[2] or "pitch"}}


def _signature(text: str) -> dict[str, Any]:
    if re.fullmatch(r"[0-9]{1,4}/[0-9]{1,4}", text) is None:
        raise click.BadParameter(f"{text!r} is not a time signature. Write e.g. 3/4.")
    return {"time_signature": text}


#: By the option's name; each takes the text after a track and colon.
_PARSERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "scale": _scale,
    "pitches": _pitches,
    "pitch-shape": _shape,
    "rhythm": _rhythm,
    "remix": _remix,
    "time-signature": _signature,
}
OPTION_NAMES = tuple(_PARSERS)


def read_option(name: str, text: str) -> NoteOption:
    """``[T:]VALUE`` of ``--NAME``. Raises click.BadParameter."""
    match = re.fullmatch(r"(?:([0-9]{1,9}):)?(.*)", text, re.DOTALL)
    assert match is not None
    track = None if match[1] is None else int(match[1])
    return NoteOption(name=name, track=track, bars=None, controls=_PARSERS[name](match[2]))


def read_bar_option(text: str) -> NoteOption:
    """``[T:]BARS:NAME=VALUE`` of ``--bar-control``. Raises click.BadParameter."""
    match = re.fullmatch(r"(?:([0-9]{1,9}):)?([0-9]{1,9}(?:-[0-9]{1,9})?):([a-z-]+)=(.*)", text, re.DOTALL)
    if match is None or match[3] not in _PARSERS:
        raise click.BadParameter(
            f"{text!r} does not name bars and a control. Write e.g. 6-7:rhythm=quarter, or 2:6-7:scale=G major for "
            f"track 2. Controls: {', '.join(_PARSERS)}."
        )
    bars = bars_of(match[2])
    if bars[0] > bars[1]:
        raise click.BadParameter(f"{match[2]} ends before it begins. Write the first bar first.")
    track = None if match[1] is None else int(match[1])
    return NoteOption(name=match[3], track=track, bars=bars, controls=_PARSERS[match[3]](match[4]))


def contradictions(options: Sequence[NoteOption]) -> Iterator[str]:
    """Options that are given twice for the same track and bars, or that both name the pitches to write."""
    seen: set[tuple[str, int | None, tuple[int, int] | None]] = set()
    for option in options:
        place = option.track, option.bars
        name = f"--{option.name}" if option.bars is None else f"--bar-control: {option.name}"
        of = "" if option.track is None else f" for track {option.track}"
        if (option.name, *place) in seen:
            yield f"{name} is given twice{of}. Keep one of them."
        other = {"scale": "pitches", "pitches": "scale"}.get(option.name)
        if other is not None and (other, *place) in seen:
            yield f"{name} and {other} both say which pitches may be written{of}. Keep one of them."
        seen.add((option.name, *place))


def controls_of(
    options: Iterable[NoteOption], track: int, bars: Sequence[int]
) -> tuple[dict[str, Any], dict[int, Any]]:
    """The controls of a track, and of single bars among ``bars``.

    Options for one track replace those for all; an option for bars replaces the whole control of the track.
    """
    of_track: dict[str, Any] = {}
    of_bars: dict[int, dict[str, Any]] = {}
    relevant = [option for option in options if option.track in (None, track)]
    for option in sorted(relevant, key=lambda option: option.track is not None):
        if option.bars is None:
            _merge(of_track, option.controls)
            continue
        for bar in bars:
            if option.bars[0] <= bar <= option.bars[1]:
                _merge(of_bars.setdefault(bar, {}), option.controls)
    return of_track, of_bars


def _merge(controls: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add controls; the parts of a pitch mask come from several options."""
    for name, value in more.items():
        if name != "pitch_mask":
            controls[name] = value
            continue
        mask = dict(controls.get(name, {}))
        # One of them says which pitches may be written.
        if set(_WHICH) & set(value):
            for other in (*_WHICH, "root"):
                mask.pop(other, None)
        controls[name] = {**mask, **value}
