"""Scores as objects that can be edited: the ``Score``, ``Track``, ``Bar`` and ``Note`` of midigpt 0.4.2.

    score = midigpt.Score.from_midi("song.mid")
    score.tracks[0].bars[4].notes.append(midigpt.Note(pitch=60, velocity=80, onset_ticks=0, duration_ticks=480))
    score.to_midi("edited.mid")

They are a small facade for scripts. The framework itself works on columns (:class:`midigpt_core.score.Score`), which
have no object per note: :meth:`Score.to_columns` and :meth:`Score.from_columns` convert exactly, note for note, in both
directions. A score that was read from a MIDI file keeps the file's content, so :meth:`Score.to_midi` keeps its other
events too: tempo map, controllers, names and system messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import define, field

from midigpt_core import files
from midigpt_core.errors import DataError
from midigpt_core.score import Score as Columns
from midigpt_core.score import reading, splicing
from midigpt_core.score.editing import note_table, num_bars, replace_cells
from midigpt_core.terminal import logger

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

_log = logger(__name__)
_DRUM = "drum"
_MELODIC = "melodic"


@define
class Note:
    """A note of a bar."""

    #: 0..127; the drum on drum tracks.
    pitch: int
    #: 0..127
    velocity: int
    #: Ticks from the start of the bar.
    onset_ticks: int
    #: Ticks. A note may last beyond its bar.
    duration_ticks: int
    #: Residual of the onset in 1/resolution of a tick.
    delta: int = 0


@define
class Bar:
    """A bar of a track."""

    #: The notes that start in it.
    notes: list[Note] = field(factory=list)
    ts_numerator: int = 4
    ts_denominator: int = 4
    #: Length in quarter notes. Unless given, that of the time signature.
    beat_length: float = field()
    #: Whether the bar is masked: the model must not see it.
    future: bool = False

    @beat_length.default
    def _nominal_length(self) -> float:
        return 4 * self.ts_numerator / self.ts_denominator


@define
class Track:
    """A track of a score."""

    bars: list[Bar] = field(factory=list)
    #: MIDI program, 0..127.
    instrument: int = 0
    #: ``"drum"`` or ``"melodic"``.
    track_type: str = _MELODIC
    #: Attribute controls, name -> level.
    attributes: dict[str, int] = field(factory=dict)


@define
class Score:
    """A piece of music."""

    tracks: list[Track] = field(factory=list)
    #: Ticks per quarter note.
    resolution: int = 480
    #: Microseconds per quarter note.
    tempo: int = 500_000
    #: The MIDI file that the score was read from, if there is one.
    _source: bytes | None = field(default=None, init=False, eq=False, repr=False)

    @classmethod
    def from_midi(cls, path: str | os.PathLike[str]) -> Score:
        """Read a standard MIDI file at 480 ticks per quarter. Raises DataError naming the file and the byte."""
        return cls._read(reading.file_content(path), str(path))

    @classmethod
    def from_bytes(cls, data: bytes) -> Score:
        """Read the content of a standard MIDI file. Raises DataError."""
        return cls._read(data, "<bytes>")

    @classmethod
    def _read(cls, content: bytes, name: str) -> Score:
        score = cls.from_columns(Columns.from_bytes(content, name=name))
        score._source = content
        return score

    @classmethod
    def from_columns(cls, score: Columns) -> Score:
        """The objects of a score in columns, with its attributes and masked bars."""
        tracks = []
        for track in score.tracks:
            masked = set(track.masked)
            bars = [Bar([], bar.numerator, bar.denominator, bar.length, bar.index in masked) for bar in track.bars]
            tracks.append(Track(bars, track.program, _DRUM if track.is_drum else _MELODIC, dict(track.attributes)))
        for row, made in zip(score.to_dict()["tracks"], tracks, strict=True):
            for bar_number, onset, duration, pitch, velocity, delta in row["notes"]:
                made.bars[bar_number].notes.append(Note(pitch, velocity, onset, duration, delta))
        return cls(tracks, score.resolution, score.tempo)

    def to_columns(self) -> Columns:
        """The score in columns. Raises DataError naming the field that cannot be used."""
        content = {
            "resolution": self.resolution,
            "tempo": self.tempo,
            "bars": _bar_rows(self.tracks[0].bars) if self.tracks else [],
            "tracks": [_track_row(track) for track in self.tracks],
        }
        return Columns.from_dict(content, "<score>")

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Score:
        """From the JSON object of midigpt 0.4.2, which :meth:`to_dict` writes; a field that is left out has the default
        of its class. Unknown keys are ignored, except in notes. Raises DataError naming the field."""
        values = _mapping(d, "score")
        return cls(
            [_track(track, f"score.tracks[{index}]") for index, track in enumerate(_list(values, "tracks", "score"))],
            _whole(values.get("resolution", 480), "score.resolution"),
            _whole(values.get("tempo", 500_000), "score.tempo"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: ``{"resolution", "tempo", "tracks": [{"instrument", "track_type", "bars":
        [{"ts_numerator", "ts_denominator", "future", "notes": [{"pitch", "velocity", "onset_ticks", "duration_ticks",
        "delta"}]}]}]}``."""
        return {
            "resolution": self.resolution,
            "tempo": self.tempo,
            "tracks": [
                {
                    "instrument": track.instrument,
                    "track_type": track.track_type,
                    "bars": [
                        {
                            "ts_numerator": bar.ts_numerator,
                            "ts_denominator": bar.ts_denominator,
                            "future": bar.future,
                            "notes": [attrs.asdict(note) for note in bar.notes],
                        }
                        for bar in track.bars
                    ],
                }
                for track in self.tracks
            ],
        }

    def to_midi(self, path: str | os.PathLike[str]) -> tuple[str, ...]:
        """Write a standard MIDI file, atomically.

        A score that was read from a MIDI file is written back into it: its other events stay. Returns a sentence for
        each thing that could not be kept, which is also logged; empty if everything was kept. Raises DataError for a
        score that MIDI cannot express.
        """
        score = self.to_columns()
        if self._source is None:
            return score.to_midi(path)
        try:
            source = "the file it was read from"
            spliced = splicing.splice(score.columns, self._source, source, new_instruments=True)
        except DataError as error:
            # For example with fewer tracks than the file.
            files.write_bytes(path, score.to_bytes())
            remarks: tuple[str, ...] = (f"the other events of the file were left out: {error}",)
        else:
            files.write_bytes(path, spliced.content)
            remarks = spliced.remarks
        for remark in remarks:
            _log.warning("%s: %s", path, remark)
        return remarks

    def resample(self, target_tpq: int) -> Score:
        """A copy at ``target_tpq`` ticks per quarter note: onsets are kept to 1/``target_tpq`` of a tick, durations
        rounded down, to no less than a tick. Raises ValueError for less than 1 tick per quarter."""
        if target_tpq < 1:
            raise ValueError(f"target_tpq is {target_tpq}. Choose a value from 1.")
        score = self.to_columns()
        notes = note_table(score).at_resolution(score.resolution, target_tpq)
        cells = np.ones((len(score.tracks), num_bars(score)), np.bool_)
        columns = attrs.evolve(score.columns, resolution=target_tpq)
        made = Score.from_columns(replace_cells(Columns(columns, score.attributes, score.masked), cells, notes))
        if target_tpq == self.resolution:
            made._source = self._source
        return made

    def with_music_of(self, score: Columns) -> Score:
        """The objects of ``score``, which was made from this one: it is written into the same MIDI file."""
        made = Score.from_columns(score)
        made._source = self._source
        return made


def _bar_rows(bars: Iterable[Bar]) -> list[list[float]]:
    return [[bar.ts_numerator, bar.ts_denominator, bar.beat_length] for bar in bars]


def _track_row(track: Track) -> dict[str, Any]:
    row: dict[str, Any] = {
        "program": track.instrument,
        "drum": track.track_type == _DRUM,
        "bars": _bar_rows(track.bars),
        "notes": [
            [number, note.onset_ticks, note.duration_ticks, note.pitch, note.velocity, note.delta]
            for number, bar in enumerate(track.bars)
            for note in bar.notes
        ],
        "masked": [number for number, bar in enumerate(track.bars) if bar.future],
    }
    return {**row, "attributes": dict(track.attributes)} if track.attributes else row


def _track(content: Any, where: str) -> Track:
    values = _mapping(content, where)
    return Track(
        [_bar(bar, f"{where}.bars[{index}]") for index, bar in enumerate(_list(values, "bars", where))],
        _whole(values.get("instrument", 0), f"{where}.instrument"),
        _DRUM if values.get("track_type") == _DRUM else _MELODIC,
    )


def _bar(content: Any, where: str) -> Bar:
    values = _mapping(content, where)
    numerator = _whole(values.get("ts_numerator", 4), f"{where}.ts_numerator", low=1)
    denominator = _whole(values.get("ts_denominator", 4), f"{where}.ts_denominator", low=1)
    notes = _list(values, "notes", where) if "notes" in values else []
    return Bar(
        [_note(note, f"{where}.notes[{index}]") for index, note in enumerate(notes)],
        numerator,
        denominator,
        future=bool(values.get("future", False)),
    )


def _note(content: Any, where: str) -> Note:
    values = _mapping(content, where)
    names = attrs.fields_dict(Note)
    if unknown := [name for name in values if name not in names]:
        raise DataError(f"{where} has no field {unknown[0]!r}. Remove it.")
    if missing := [name for name in names if name not in values and name != "delta"]:
        raise DataError(f"{where}.{missing[0]} is missing. Add it.")
    return Note(**{name: _whole(value, f"{where}.{name}") for name, value in values.items()})


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: expected an object, got {type(value).__name__}. Correct it.")
    return value


def _list(values: Mapping[str, Any], key: str, where: str) -> list[Any]:
    if key not in values:
        raise DataError(f"{where}.{key} is missing. Add it.")
    if not isinstance(values[key], list | tuple):
        raise DataError(f"{where}.{key}: expected a list, got {type(values[key]).__name__}. Correct it.")
    return list(values[key])


def _whole(value: Any, where: str, low: int | None = None) -> int:
    """An integer; 1.0 is 1, as JSON of some programs has it."""
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not whole:
        raise DataError(f"{where}: expected a whole number, got {value!r}. Correct it.")
    if low is not None and value < low:
        raise DataError(f"{where} is {value}. Choose a value from {low}.")
    return int(value)
