"""Score, Track and Bar: views over the columns of one piece. A view copies nothing, and there is no object per note."""

from __future__ import annotations

import hashlib
import json
import operator
from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, SupportsIndex, TypeVar, overload

import numpy as np
from attrs import Attribute, field, frozen

from midigpt_core import _native, files
from midigpt_core.errors import DataError
from midigpt_core.score import document, reading, splicing

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from midigpt_core.records import Int32Array, ScoreColumns, UInt8Array

View = TypeVar("View")


def _check_one_piece(_score: Score, _field: object, columns: ScoreColumns) -> None:
    if columns.num_pieces != 1:
        raise ValueError(f"a Score holds one piece, these columns hold {columns.num_pieces}; use columns.select")


def _check_per_track(score: Score, checked: Attribute[tuple[Any, ...]], values: tuple[Any, ...]) -> None:
    if values and len(values) != len(score.columns.track_program):
        raise ValueError(f"{checked.name} has {len(values)} entries for {len(score.columns.track_program)} tracks")


@frozen(eq=False)
class Score:
    """One piece of music. ``Score.from_midi(path)`` reads one from a file."""

    #: One piece; what encoders and corpora work on.
    columns: ScoreColumns = field(validator=_check_one_piece)
    #: Attribute controls per track, name -> value; empty: none on any track.
    attributes: tuple[Mapping[str, int], ...] = field(default=(), validator=_check_per_track)
    #: Bars per track, ascending, that are flagged masked; empty: none on any track.
    masked: tuple[tuple[int, ...], ...] = field(default=(), validator=_check_per_track)

    @classmethod
    def from_midi(cls, path: str | os.PathLike[str]) -> Score:
        """Read a standard MIDI file at 480 ticks per quarter. Raises DataError naming the file and the byte."""
        return cls.from_bytes(reading.file_content(path), name=str(path))

    @classmethod
    def from_bytes(cls, content: bytes, name: str = "<bytes>") -> Score:
        """Read the content of a standard MIDI file; ``name`` is for messages. Raises DataError."""
        return cls(reading.read_one(content, name))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], name: str = "<score>") -> Score:
        """The score that :meth:`to_dict` wrote. Raises DataError naming the field that cannot be used."""
        return cls(*document.parse(content, name))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, laid out as :mod:`midigpt_core.score.document` says."""
        return document.write(self.columns, self.attributes, self.masked)

    def to_bytes(self, like: bytes | None = None) -> bytes:
        """A standard MIDI file (format 1, one chunk per track) in the score's resolution, microtiming left out.

        With ``like``, the content of the MIDI file that this score was read from, the result is that file with the
        changed notes: see :meth:`to_midi`. Raises DataError for a score that MIDI cannot express, e.g. a denominator
        that is not a power of two, and for a ``like`` that is not the score's file.
        """
        if like is not None:
            return splicing.splice(self.columns, like, "the file").content
        try:
            return _native.write_midi(self.columns)
        except ValueError as error:
            raise DataError(
                f"the score cannot be written as MIDI: {error}. Change that, or keep it as JSON."
            ) from error

    def to_midi(
        self, path: str | os.PathLike[str], like: str | os.PathLike[str] | bytes | None = None
    ) -> tuple[str, ...]:
        """Write :meth:`to_bytes` to ``path``, atomically.

        ``like`` is the MIDI file, or its content, that this score was read from. The output is then that file, event
        for event (format, division, tempo map, controllers, names, system messages, channels), except notes that were
        removed from the score or added to it, tracks and bars that were added at the end, and time signatures and the
        tempo where the score has others. Without ``like`` the file holds the score alone.

        Returns a sentence for each thing that could not be kept; empty if everything was kept. Raises DataError as
        :meth:`to_bytes` does.
        """
        if like is None:
            files.write_bytes(path, self.to_bytes())
            return ()
        content, name = (like, "the file") if isinstance(like, bytes) else (reading.file_content(like), str(like))
        spliced = splicing.splice(self.columns, content, name)
        files.write_bytes(path, spliced.content)
        return spliced.remarks

    def digest(self) -> str:
        """SHA-256 of :meth:`to_dict` as compact JSON with sorted keys: equal for equal scores."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def resolution(self) -> int:
        """Ticks per quarter note."""
        return self.columns.resolution

    @property
    def tempo(self) -> int:
        """Microseconds per quarter note."""
        return int(self.columns.tempo[0])

    @property
    def tracks(self) -> Sequence[Track]:
        return Views(len(self.columns.track_program), lambda index: Track(self, index))

    def __repr__(self) -> str:
        columns = self.columns
        return (
            f"<Score: {len(columns.track_program)} tracks, {len(columns.bar_length)} bars, "
            f"{len(columns.note_pitch)} notes at {self.resolution} ticks per quarter>"
        )


class Views(Sequence[View]):
    """Tracks or bars by their index, each made on access, so that access costs the same however many there are."""

    __slots__ = ("_count", "_view")

    def __init__(self, count: int, view: Callable[[int], View]) -> None:
        self._count = count
        self._view = view

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: SupportsIndex) -> View: ...

    @overload
    def __getitem__(self, index: slice) -> list[View]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> View | list[View]:
        # A range handles negative indices, slices and their errors.
        chosen = range(self._count)[index]
        return [self._view(place) for place in chosen] if isinstance(chosen, range) else self._view(chosen)

    def __repr__(self) -> str:
        return repr(list(self))


def _run(ends: Int32Array, index: int) -> slice:
    """The run of ``index`` in a column of ends that counts from the piece's start."""
    return slice(int(ends[index - 1]) if index else 0, int(ends[index]))


@frozen(eq=False)
class Track:
    """One track of a score."""

    score: Score
    index: int

    @property
    def program(self) -> int:
        """MIDI program 0..127."""
        return int(self.score.columns.track_program[self.index])

    @property
    def is_drum(self) -> bool:
        return bool(self.score.columns.track_drum[self.index])

    @property
    def attributes(self) -> Mapping[str, int]:
        """Attribute controls, name -> value."""
        return self.score.attributes[self.index] if self.score.attributes else {}

    @property
    def masked(self) -> tuple[int, ...]:
        """Bars that are flagged masked, ascending."""
        return self.score.masked[self.index] if self.score.masked else ()

    @property
    def bars(self) -> Sequence[Bar]:
        bars = self.bar_run
        return Views(bars.stop - bars.start, lambda index: Bar(self, index))

    @property
    def bar_run(self) -> slice:
        """The track's bars within the bar columns."""
        columns = self.score.columns
        if columns.track_bar_end is None:
            return slice(0, len(columns.bar_length))
        return _run(columns.track_bar_end, self.index)

    @property
    def cell_run(self) -> slice:
        """The track's bars that have notes, within the cell columns."""
        return _run(self.score.columns.track_cell_end, self.index)

    @property
    def notes(self) -> Notes:
        """All notes of the track, bar by bar."""
        cells = self.cell_run
        if cells.start == cells.stop:
            return Notes.of(self.score.columns, slice(0, 0))
        ends = self.score.columns.cell_note_end
        return Notes.of(self.score.columns, slice(_run(ends, cells.start).start, int(ends[cells.stop - 1])))


@frozen(eq=False)
class Bar:
    """One bar of a track."""

    track: Track
    index: int

    @property
    def numerator(self) -> int:
        return int(self.track.score.columns.bar_numerator[self._position])

    @property
    def denominator(self) -> int:
        return int(self.track.score.columns.bar_denominator[self._position])

    @property
    def length(self) -> float:
        """Nominal length in quarter notes."""
        return float(self.track.score.columns.bar_length[self._position])

    @property
    def is_masked(self) -> bool:
        masked = self.track.masked
        place = bisect_left(masked, self.index)
        return place < len(masked) and masked[place] == self.index

    @property
    def notes(self) -> Notes:
        """The notes that start in this bar."""
        columns = self.track.score.columns
        cells = self.track.cell_run
        cell = cells.start + int(np.searchsorted(columns.cell_bar[cells], self.index))
        if cell == cells.stop or columns.cell_bar[cell] != self.index:
            return Notes.of(columns, slice(0, 0))
        return Notes.of(columns, _run(columns.cell_note_end, cell))

    @property
    def _position(self) -> int:
        return int(self.track.bar_run.start) + self.index


class Note(NamedTuple):
    """One note of :class:`Notes`; a plain tuple of integers."""

    #: Ticks from the start of the note's bar.
    onset: int
    #: Ticks.
    duration: int
    pitch: int
    velocity: int
    #: Residual of the onset in 1/resolution of a tick.
    microtiming: int


@frozen(eq=False)
class Notes(Sequence[Note]):
    """A run of notes as array slices of equal length n, in the order of their note-ons in the file.

    Its columns are NumPy arrays; ``for note in notes`` and ``notes[3]`` give one :class:`Note` at a time, and a slice
    is another run of notes that shares the memory.
    """

    #: int32[n], ticks from the start of each note's bar.
    onset: Int32Array
    #: int32[n], ticks.
    duration: Int32Array
    pitch: UInt8Array
    velocity: UInt8Array
    #: int32[n], residual of the onset in 1/resolution of a tick.
    microtiming: Int32Array

    @classmethod
    def of(cls, columns: ScoreColumns, run: slice) -> Notes:
        """The notes of a run of the note columns."""
        return cls(
            columns.note_onset[run],
            columns.note_duration[run],
            columns.note_pitch[run],
            columns.note_velocity[run],
            columns.note_microtiming[run],
        )

    def __len__(self) -> int:
        return len(self.onset)

    @overload
    def __getitem__(self, index: SupportsIndex) -> Note: ...

    @overload
    def __getitem__(self, index: slice) -> Notes: ...

    def __getitem__(self, index: SupportsIndex | slice) -> Note | Notes:
        columns = self._columns
        if isinstance(index, slice):
            chosen: Any = (column[index] for column in columns)
            return Notes(*chosen)
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"note {place} of {len(self)}")
        return Note(*(int(column[place]) for column in columns))

    def __iter__(self) -> Iterator[Note]:
        return map(Note._make, self.rows())

    def rows(self) -> Iterator[tuple[int, int, int, int, int]]:
        """The fields of :class:`Note` one note after another, as plain tuples: for export and display."""
        # A view of the memory gives integers one by one, without a list of all of them.
        return zip(*(column.data for column in self._columns), strict=True)

    @property
    def _columns(self) -> tuple[Int32Array | UInt8Array, ...]:
        return (self.onset, self.duration, self.pitch, self.velocity, self.microtiming)
