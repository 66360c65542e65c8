"""Writes a score back into the MIDI file that it was read from: what did not change stays as it is in the file.

The file is read again and the two scores are compared note by note. Notes that only one of them has are removed from
the file or added to it; everything that a score does not hold (tempo map, controllers, names, system messages) is kept.
See ``csrc/score/splice_midi.h`` for the rules.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from midigpt_core import _native
from midigpt_core.errors import DataError
from midigpt_core.score import reading
from midigpt_core.score.columns import NOTE_FIELDS
from midigpt_core.score.instruments import with_programs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.records import BoolArray, Int32Array, Int64Array, ScoreColumns, UInt8Array


class SpliceError(DataError):
    """A change that cannot be written into the file; ``reason`` is one clause."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: the change cannot be written into this file: {reason}. Leave out `like`.")
        self.reason = reason


@frozen(kw_only=True)
class Spliced:
    """A MIDI file with the music of a score."""

    content: bytes
    #: A sentence for each difference from the score or the file; empty if there is none.
    remarks: tuple[str, ...]


@frozen(eq=False, kw_only=True)
class _Edit:
    """What the native code reads: ``Edit`` in ``csrc/score/splice_midi.h``."""

    removed: UInt8Array
    track: Int32Array
    bar: Int32Array
    onset: Int32Array
    duration: Int32Array
    pitch: UInt8Array
    velocity: UInt8Array
    microtiming: Int32Array
    new_program: UInt8Array
    new_drum: UInt8Array
    numerator: Int32Array
    denominator: Int32Array
    tempo: int


def splice(columns: ScoreColumns, content: bytes, name: str, *, new_instruments: bool = False) -> Spliced:
    """The MIDI file ``content`` with the music of ``columns``, one piece that was read from it and then changed.

    ``name`` is for messages. ``new_instruments``: melodic tracks of the file may have other programs in ``columns``,
    which are written too; otherwise they show that this is another file. Raises DataError if the file cannot be read,
    if the score's first tracks or bars are not those of the file; SpliceError, a subclass of it, if this file cannot
    represent the change.
    """
    original = reading.read_one(content, name)
    _check_same_tracks(columns, original, name, new_instruments=new_instruments)
    numerator, denominator = _signatures(columns, original, name)
    rows, old_rows = _note_rows(columns), _note_rows(original)
    kept, old_kept = _matched(rows, old_rows)
    added = rows[~kept].astype(np.int32)
    count = len(original.track_program)
    edit = _Edit(
        removed=(~old_kept).astype(np.uint8),
        track=np.ascontiguousarray(added[:, 0]),
        bar=np.ascontiguousarray(added[:, 1]),
        onset=np.ascontiguousarray(added[:, 2]),
        duration=np.ascontiguousarray(added[:, 3]),
        pitch=added[:, 4].astype(np.uint8),
        velocity=added[:, 5].astype(np.uint8),
        microtiming=np.ascontiguousarray(added[:, 6]),
        new_program=np.ascontiguousarray(columns.track_program[count:]),
        new_drum=columns.track_drum[count:].astype(np.uint8),
        numerator=numerator,
        denominator=denominator,
        tempo=int(columns.tempo[0]),
    )
    try:
        spliced, beyond_bar, after_unclosed, became_format_1, on_ports = _native.splice_midi(content, edit)
    except ValueError as error:
        raise SpliceError(name, str(error)) from error
    remarks = _remarks(beyond_bar, after_unclosed, became_format_1, on_ports)
    if not np.array_equal(columns.track_program[:count], original.track_program):
        spliced, sharing = _with_programs(spliced, columns, name)
        remarks += [_of_sharing(tracks) for tracks in sharing]
    return Spliced(content=spliced, remarks=tuple(remarks))


def _with_programs(content: bytes, columns: ScoreColumns, name: str) -> tuple[bytes, list[tuple[int, ...]]]:
    """``content``, which has the notes of ``columns``, with its programs too, and the tracks that share a channel."""
    before = reading.read_one(content, name).track_program.tolist()
    wanted = columns.track_program.tolist()
    try:
        made, sharing = with_programs(content, before, wanted)
    except ValueError as error:
        raise SpliceError(name, str(error)) from error
    if sorted(reading.read_one(made, name).track_program.tolist()) != sorted(wanted):
        raise SpliceError(name, "its instruments are not where a program change is read")
    return made, sharing


def _of_sharing(tracks: Sequence[int]) -> str:
    listed = f"{', '.join(map(str, tracks[:-1]))} and {tracks[-1]}"
    return f"tracks {listed} share a MIDI channel: players give all of them the instrument that was set last."


def _check_same_tracks(columns: ScoreColumns, original: ScoreColumns, name: str, *, new_instruments: bool) -> None:
    if columns.resolution != original.resolution:
        raise DataError(
            f"the score is at {columns.resolution} ticks per quarter, what is read from {name} at "
            f"{original.resolution}. Give the score that was read from this file."
        )
    count = len(original.track_program)
    same = len(columns.track_program) >= count and np.array_equal(columns.track_drum[:count], original.track_drum)
    if same:
        differ = columns.track_program[:count] != original.track_program
        # Drums have kits, which nothing here reads.
        same = not (differ & (original.track_drum.astype(np.bool_) | (not new_instruments))).any()
    if not same:
        raise DataError(
            f"the score's first {count} tracks are not those of {name}. Give the file that the score was read from, "
            "and add tracks after its own."
        )


def _signatures(columns: ScoreColumns, original: ScoreColumns, name: str) -> tuple[Int32Array, Int32Array]:
    """Time signatures of the longest track's bars, int32[B] each, with which the other tracks must agree."""
    if columns.track_bar_end is None:
        ends = np.array([len(columns.bar_numerator)])
    else:
        ends = columns.track_bar_end.astype(np.int64)
    starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
    longest = int(np.argmax(ends - starts)) if len(ends) else 0
    bars = slice(int(starts[longest]), int(ends[longest])) if len(ends) else slice(0, 0)
    numerator, denominator = columns.bar_numerator[bars], columns.bar_denominator[bars]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        length = end - start
        if not (
            np.array_equal(columns.bar_numerator[start:end], numerator[:length])
            and np.array_equal(columns.bar_denominator[start:end], denominator[:length])
        ):
            raise DataError(
                "the tracks of the score have different time signatures in the same bar, which a MIDI file cannot say. "
                "Give all of them the same bars."
            )
    if len(numerator) < len(original.bar_numerator):
        raise DataError(
            f"the score has {len(numerator)} bars, {name} {len(original.bar_numerator)}. Give the file that the score "
            "was read from; bars can be emptied and added, not taken away."
        )
    return np.ascontiguousarray(numerator), np.ascontiguousarray(denominator)


def _note_rows(columns: ScoreColumns) -> Int64Array:
    """(track, bar, onset, duration, pitch, velocity, microtiming) of every note, int64[n, 7]."""
    cells = np.diff(columns.track_cell_end, prepend=0)
    notes = np.diff(columns.cell_note_end, prepend=0)
    track = np.repeat(np.repeat(np.arange(len(cells)), cells), notes)
    bar = np.repeat(columns.cell_bar, notes)
    rows: Any = [track, bar, *(getattr(columns, f"note_{field}") for field in NOTE_FIELDS)]
    return np.stack([column.astype(np.int64) for column in rows], axis=1)


def _matched(rows: Int64Array, others: Int64Array) -> tuple[BoolArray, BoolArray]:
    """Which rows of each table the other one has too; of equal rows, as many as both have."""
    _, numbers = np.unique(np.concatenate([rows, others]), axis=0, return_inverse=True)
    numbers = numbers.reshape(-1)
    counts = [np.bincount(part, minlength=len(numbers) + 1) for part in np.split(numbers, [len(rows)])]
    common = np.minimum(*counts)
    first, second = (_place_among_equals(part) < common[part] for part in np.split(numbers, [len(rows)]))
    return first, second


def _place_among_equals(numbers: Int64Array) -> Int64Array:
    """For each value, the number of equal values before it."""
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])
    lengths = np.diff(np.append(starts, len(ordered)))
    place = np.empty(len(numbers), np.int64)
    place[order] = np.arange(len(ordered)) - np.repeat(starts, lengths)
    return place


def _remarks(beyond_bar: int, after_unclosed: int, became_format_1: bool, on_ports: list[int]) -> list[str]:
    remarks = []
    if beyond_bar:
        remarks.append(f"{_notes(beyond_bar)} left out: the next time signature cuts the bar short before them.")
    if after_unclosed:
        remarks.append(
            f"{_notes(after_unclosed)} left out: an earlier note of the same channel and pitch is never closed."
        )
    if became_format_1:
        remarks.append("a file of format 0 has one track: the file is of format 1 now, to hold the new ones.")
    if on_ports:
        plural = len(on_ports) > 1
        listed = ", ".join(map(str, on_ports))
        remarks.append(
            f"all channels are taken: new track{'s' if plural else ''} {listed} {'are' if plural else 'is'} on a MIDI "
            "port of its own, and shares a channel where a player knows no ports."
        )
    return remarks


def _notes(count: int) -> str:
    return "1 note was" if count == 1 else f"{count} notes were"
