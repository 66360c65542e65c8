"""The notes of encoded windows as the grammar's schedules take them, by whole arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.records import BarNotes

if TYPE_CHECKING:
    from midigpt_core.records import BoolArray, Int64Array, TokenBatch, Vocabulary


def notes_of(batch: TokenBatch, vocabulary: Vocabulary) -> BarNotes:
    """The notes in N documents without bars to fill in."""
    numbers = {name: number for number, name in enumerate(vocabulary.type_names)}
    kind, value = vocabulary.type_of[batch.tokens], vocabulary.value_of[batch.tokens].astype(np.int64)
    document = np.repeat(np.arange(len(batch)), np.diff(batch.offsets))

    def is_a(name: str) -> BoolArray:
        return kind == numbers[name] if name in numbers else np.zeros(len(kind), np.bool_)

    tracks, bars = is_a("Track"), is_a("Bar")
    track = _count_since(tracks, _at_starts(batch.offsets, len(kind)))
    bar = _count_since(bars, tracks)
    note = np.flatnonzero(is_a("NoteOnset"))
    positions, velocities, deltas = is_a("TimeAbsolutePos"), is_a("VelocityLevel"), is_a("Delta")
    tick = _last(np.where(positions, value, 0), positions | bars)
    # Level 0 is never written.
    level = _last(np.where(velocities, value, 0), velocities | bars)
    delta = np.where(deltas[note - 1], value[note - 1], 0)
    delta = np.where(is_a("DeltaDirection")[note - 2] & deltas[note - 1], -delta, delta)
    after = np.minimum(note + 1, len(kind) - 1)
    duration = np.where(is_a("NoteDuration")[after], value[after], 0)
    columns: list[Int64Array] = [
        document[note], track[note], bar[note], tick[note], value[note], duration, level[note], delta,
    ]  # fmt: skip
    rows = np.stack(columns, axis=1).astype(np.int32)
    # The same pitch twice at one tick is one note.
    _, first = np.unique(rows[:, :5], axis=0, return_index=True)
    rows = rows[first]
    return BarNotes(window=rows[:, 0], track=rows[:, 1], bar=rows[:, 2], notes=np.ascontiguousarray(rows[:, 3:]))


def _at_starts(offsets: Int64Array, length: int) -> BoolArray:
    starts = np.zeros(length, np.bool_)
    starts[offsets[:-1][np.diff(offsets) > 0]] = True
    return starts


def _count_since(flags: BoolArray, restarts: BoolArray) -> Int64Array:
    """How many ``flags`` came before each place since the last of ``restarts``, the place itself less 1."""
    count: Int64Array = np.cumsum(flags, dtype=np.int64)
    before = np.where(restarts, count - flags, 0)
    since: Int64Array = count - np.maximum.accumulate(before) - 1
    return since


def _last(values: Int64Array, written: BoolArray) -> Int64Array:
    """The value at the last place up to each one that is ``written``."""
    places = np.maximum.accumulate(np.where(written, np.arange(len(values)), 0))
    last: Int64Array = values[places]
    return last
