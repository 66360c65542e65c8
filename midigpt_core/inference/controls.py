"""Controls of the notes of tracks and bars: ``pitch_mask``, ``rhythm_mask`` and ``remix``.

The names and values are those of the public package midigpt 0.4.2. :func:`read_control` reads plain values;
docs/generation.md explains them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from attrs import frozen

from midigpt_core.config.wording import spell, unknown_key
from midigpt_core.inference.scales import GRID_UNITS, SCALES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midigpt_core.records import BoolArray, Float32Array, NoteGrid

PITCHES = 128

#: Names of the controls in requests, which are the capabilities of encoders that honour them.
NOTE_CONTROLS = ("pitch_mask", "remix", "rhythm_mask")
#: Of a rhythm: more than any vocabulary has.
_MOST_TICKS = 100_000
_LARGEST = 1e9
_LEAST_WEIGHT = np.finfo(np.float32).tiny


@frozen
class Shape:
    """Weights of pitches."""

    kind: Literal["normal", "uniform"]
    #: ``mean`` and ``std``, or ``min`` and ``max``.
    first: float
    second: float

    def weights(self) -> Float32Array:
        """float32[128]."""
        pitches = np.arange(PITCHES, dtype=np.float64)
        if self.kind == "uniform":
            return ((pitches >= self.first) & (pitches <= self.second)).astype(np.float32)
        with np.errstate(over="ignore", under="ignore"):
            distance = (pitches - self.first) / (self.second or 1e-6)
            return np.exp(-(distance**2) / 2).astype(np.float32)


@frozen
class PitchMask:
    """The pitches that may be written, and how likely each is."""

    #: Exact pitches; None: those of ``classes``.
    pitches: tuple[int, ...] | None = None
    #: Pitch classes 0 to 11, in any octave; None: all. They do not apply to drums, whose pitches are instruments.
    classes: tuple[int, ...] | None = None
    shape: Shape | None = None

    def allowed(self, *, drum: bool) -> BoolArray | None:
        """bool[128]; None: all."""
        numbers = np.arange(PITCHES)
        if self.pitches is not None:
            return np.isin(numbers, self.pitches)
        if self.classes is not None and not drum:
            return np.isin(numbers % 12, self.classes)
        return None

    def weights(self, *, drum: bool, pitches: int) -> Float32Array | None:
        """float32[128] for a vocabulary of so many ``pitches``; None: all 1.

        Under ``normal`` no weight is 0, so that every allowed pitch can still be written where no other one may.
        """
        if self.shape is None:
            return None
        weights = self.shape.weights()
        if self.shape.kind == "normal" and self.is_possible(drum=drum, pitches=pitches):
            return np.maximum(weights, _LEAST_WEIGHT)
        return weights

    def playable(self, *, drum: bool, pitches: int) -> BoolArray:
        """bool[128], the pitches below ``pitches`` that may be written and whose weight is above 0."""
        found = np.arange(PITCHES) < pitches
        allowed = self.allowed(drum=drum)
        if allowed is not None:
            found &= allowed
        weights = self.weights(drum=drum, pitches=pitches)
        return found if weights is None else found & (weights > 0)

    def is_possible(self, *, drum: bool, pitches: int) -> bool:
        """Whether any pitch below ``pitches`` may be written and has a weight above 0."""
        found = np.arange(PITCHES) < pitches
        allowed = self.allowed(drum=drum)
        if allowed is not None:
            found &= allowed
        if self.shape is not None:
            found &= self.shape.weights() > 0
        return bool(found.any())


@frozen
class RhythmMask:
    """Where in a bar notes begin."""

    #: Ticks of the encoder in the bar and the number of notes at each, ascending; None: a grid.
    positions: tuple[tuple[int, int], ...] | None = None
    #: Whether notes of ``positions`` may be moved off their ticks by microtiming.
    microtiming: bool = True
    unit: str = "quarter"
    #: 0: no effect; 1: no note off the grid.
    strength: float = 1.0

    def weights(self, grid: NoteGrid) -> Float32Array:
        """float32[positions] of the grid."""
        ticks = np.arange(grid.positions)
        step = max(1, round(grid.resolution * GRID_UNITS[self.unit]))
        return np.where(ticks % step == 0, 1.0, 1.0 - self.strength).astype(np.float32)


@frozen
class Remix:
    """Rewrite some notes of the bars, at the onsets that they have."""

    #: Share of the notes.
    amount: float
    #: ``pitch``: only their pitches; ``full``: also their durations, velocities and microtiming.
    mode: Literal["pitch", "full"] = "pitch"

    def count(self, notes: int) -> int:
        """How many of so many notes are rewritten."""
        return min(notes, max(1, round(self.amount * notes)))


NoteControl = PitchMask | RhythmMask | Remix


def read_control(name: str, value: Any) -> tuple[NoteControl | None, list[str]]:
    """One of :data:`NOTE_CONTROLS` from its plain value: the control, or None and what is wrong with it. Each problem
    begins with the path below the control: ``.scale is …``."""
    problems: list[str] = []
    control = _READERS[name](value, problems)
    return (None, problems) if problems else (control, [])


def _pitch_mask(value: Any, problems: list[str]) -> PitchMask | None:
    keys = ("pitches", "scale", "root", "pitch_classes", "shape")
    if not _has_keys(value, keys, problems):
        return None
    pitches = _integers(value, "pitches", problems, below=PITCHES)
    classes = _integers(value, "pitch_classes", problems)
    root = value.get("root", 0)
    if not _is_integer(root):
        problems.append(f".root is {spell(root)}. Give the tonic as an integer; 0 is C.")
        root = 0
    scale = value.get("scale")
    if "scale" in value and (not isinstance(scale, str) or scale not in SCALES):
        problems.append(f".scale is {spell(scale)}: {unknown_key(scale, SCALES, 'scale')}")
        scale = None
    if "scale" in value and "pitch_classes" in value:
        problems.append(": scale and pitch_classes both say which pitches may be written. Keep one of them.")
    for name, listed in (("pitches", pitches), ("pitch_classes", classes)):
        if listed is not None and not listed:
            problems.append(f".{name} is empty, which leaves no pitch. Leave it out, or list pitches.")
    if isinstance(scale, str):
        classes = tuple(sorted((root + step) % 12 for step in SCALES[scale]))
    elif classes is not None:
        classes = tuple(sorted({number % 12 for number in classes}))
    shape = _shape(value.get("shape"), problems)
    return PitchMask(None if pitches is None else tuple(sorted(set(pitches))), classes, shape)


def _shape(value: Any, problems: list[str]) -> Shape | None:
    if value is None:
        return None
    if not isinstance(value, Mapping):
        problems.append(f".shape is {spell(value)}. Give a mapping with a type, normal or uniform.")
        return None
    kind = value.get("type")
    names = {"normal": {"mean": 60.0, "std": 12.0}, "uniform": {"min": 0.0, "max": 127.0}}
    if not isinstance(kind, str) or kind not in names:
        problems.append(f".shape.type is {spell(kind)}. Choose normal or uniform.")
        return None
    for name in value:
        if name not in ("type", "mean", "std", "min", "max"):
            problems.append(f".shape: {unknown_key(name, names[kind], 'option')}")
    numbers = []
    for name, default in names[kind].items():
        number = value.get(name, default)
        if not _is_number(number):
            problems.append(f".shape.{name} is {spell(number)}. Give a number.")
            number = default
        numbers.append(float(number))
    if kind == "uniform" and numbers[0] > numbers[1]:
        problems.append(f".shape: min is {numbers[0]:g} and max {numbers[1]:g}, which leaves no pitch. Swap them.")
    return Shape("normal" if kind == "normal" else "uniform", *numbers)


def _rhythm_mask(value: Any, problems: list[str]) -> RhythmMask | None:
    if not _has_keys(value, ("positions", "grid", "microtiming"), problems):
        return None
    if ("positions" in value) == ("grid" in value):
        problems.append(": give either positions or a grid.")
        return None
    microtiming = value.get("microtiming", True)
    if not isinstance(microtiming, bool):
        problems.append(f".microtiming is {spell(microtiming)}. Choose true or false.")
    if "grid" in value:
        if "microtiming" in value:
            problems.append(".microtiming applies to positions only. Leave it out.")
        return _grid(value["grid"], problems)
    positions = value["positions"]
    if not isinstance(positions, Sequence) or isinstance(positions, str) or not 0 < len(positions) <= _MOST_TICKS:
        problems.append('.positions: give a list of positions, e.g. [{"pos": 0}, {"pos": 24, "polyphony": 2}].')
        return None
    counts: dict[int, int] = {}
    for index, entry in enumerate(positions):
        where = f".positions[{index}]"
        if not isinstance(entry, Mapping) or "pos" not in entry or not {*entry} <= {"pos", "polyphony"}:
            problems.append(f'{where} is {spell(entry)}. Give a mapping, e.g. {{"pos": 0, "polyphony": 1}}.')
            return None
        tick, count = entry["pos"], entry.get("polyphony", 1)
        if not _is_integer(tick) or not 0 <= tick < _MOST_TICKS:
            problems.append(f"{where}.pos is {spell(tick)}. Give a tick of the bar, from 0.")
        elif tick in counts:
            problems.append(f"{where}.pos: {tick} is there twice. Give the number of notes as its polyphony.")
        if not _is_integer(count) or not 1 <= count <= PITCHES:
            problems.append(f"{where}.polyphony is {spell(count)}. Choose a value from 1 to {PITCHES}.")
        if problems:
            return None
        counts[tick] = count
    return RhythmMask(tuple(sorted(counts.items())), microtiming)


def _grid(value: Any, problems: list[str]) -> RhythmMask | None:
    if not _has_keys(value, ("unit", "strength"), problems, ".grid"):
        return None
    unit, strength = value.get("unit"), value.get("strength", 1.0)
    if not isinstance(unit, str) or unit not in GRID_UNITS:
        problems.append(f".grid.unit is {spell(unit)}. Choose one of {', '.join(sorted(GRID_UNITS))}.")
        return None
    if not _is_number(strength) or not 0 <= strength <= 1:
        problems.append(f".grid.strength is {spell(strength)}. Choose a value from 0 to 1.")
        return None
    return RhythmMask(None, True, unit, float(strength))


def _remix(value: Any, problems: list[str]) -> Remix | None:
    if not _has_keys(value, ("amount", "mode"), problems):
        return None
    amount, mode = value.get("amount"), value.get("mode", "pitch")
    if not _is_number(amount) or not 0 < amount <= 1:
        given = "is missing" if "amount" not in value else f"is {spell(amount)}"
        problems.append(f".amount {given}. Choose a value above 0 and up to 1.")
        return None
    if not isinstance(mode, str) or mode not in ("pitch", "full"):
        problems.append(f".mode is {spell(mode)}. Choose pitch or full.")
        return None
    return Remix(float(amount), "full" if mode == "full" else "pitch")


_READERS: Mapping[str, Callable[[Any, list[str]], NoteControl | None]] = {
    "pitch_mask": _pitch_mask,
    "rhythm_mask": _rhythm_mask,
    "remix": _remix,
}


def _has_keys(value: Any, names: Sequence[str], problems: list[str], path: str = "") -> bool:
    """Whether ``value`` is a mapping with no other keys than ``names``."""
    if not isinstance(value, Mapping):
        problems.append(f"{path} is {spell(value)}. Give a mapping with {', '.join(names)}.")
        return False
    unknown = [name for name in value if name not in names]
    problems.extend(f"{path}: {unknown_key(name, names, 'option')}" for name in unknown[:3])
    return not unknown


def _integers(value: Mapping[str, Any], name: str, problems: list[str], below: int = 0) -> tuple[int, ...] | None:
    """A list of integers, each from 0 and below ``below`` (0: any). None if it is left out or faulty."""
    if name not in value:
        return None
    entries = value[name]
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes) or len(entries) > _MOST_TICKS:
        problems.append(f".{name} is {spell(entries)}. Give a list of integers.")
        return None
    for entry in _unusable(entries, below):
        within = f" from 0 to {below - 1}" if below else ""
        problems.append(f".{name} has {spell(entry)}. Give integers{within}.")
        return None
    return tuple(entries)


def _unusable(entries: Sequence[Any], below: int) -> Iterator[Any]:
    return (entry for entry in entries if not _is_integer(entry) or (below and not 0 <= entry < below))


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**31


def _is_number(value: Any) -> bool:
    # Compared, not converted: an integer may be larger than every float.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
