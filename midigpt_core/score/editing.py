"""Changes the bars, tracks or notes of scores: each function returns a new score and leaves the given one unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import frozen

from midigpt_core.score.columns import NOTE_FIELDS, level_columns, with_own_bars
from midigpt_core.score.score import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.records import BoolArray, Int32Array, Int64Array, ScoreColumns, UInt8Array

_BAR_COLUMNS = tuple(level_columns("bar"))
#: What does not depend on other tracks.
_TRACK_COLUMNS = tuple(name for name in level_columns("track") if name != "track_cell_end")


@frozen(eq=False, kw_only=True)
class NoteTable:
    """Notes one by one, in any order, each with its track and bar; units as in :class:`ScoreColumns`."""

    track: Int64Array
    bar: Int64Array
    onset: Int32Array
    duration: Int32Array
    pitch: UInt8Array
    velocity: UInt8Array
    microtiming: Int32Array

    def __len__(self) -> int:
        return len(self.track)

    def where(self, chosen: BoolArray) -> NoteTable:
        return NoteTable(**{name: getattr(self, name)[chosen] for name in attrs.fields_dict(NoteTable)})

    def at_resolution(self, old: int, new: int) -> NoteTable:
        """The notes at ``new`` ticks per quarter: times are kept to 1/``new`` of a tick, durations rounded down."""
        if old == new:
            return self
        unit = old * old
        place = (self.onset.astype(np.int64) * old + self.microtiming) * new
        onset = np.maximum(place // unit, 0)
        microtiming = np.rint((place - onset * unit) * (new / unit)).astype(np.int64)
        carried = np.maximum(microtiming // new, 0)
        onset, microtiming = onset + carried, microtiming - carried * new
        duration = np.maximum(self.duration.astype(np.int64) * new // old, 1)
        return attrs.evolve(
            self,
            onset=onset.astype(np.int32),
            duration=duration.astype(np.int32),
            microtiming=microtiming.astype(np.int32),
        )


def empty_score(
    num_bars: int, tracks: Sequence[tuple[int, bool]] = (), signature: tuple[int, int] = (4, 4), resolution: int = 480
) -> Score:
    """``num_bars`` bars without notes; ``tracks``: program and whether it is a drum track."""
    numerator, denominator = signature
    bar = [numerator, denominator, 4 * numerator / denominator]
    rows = [{"program": program, "drum": drum, "notes": []} for program, drum in tracks]
    return Score.from_dict({"resolution": resolution, "tempo": 500_000, "bars": [bar] * num_bars, "tracks": rows})


def num_bars(score: Score) -> int:
    """Bars of the longest track, or of the piece where tracks share their bars."""
    columns = score.columns
    if columns.track_bar_end is None:
        return len(columns.bar_length)
    return int(np.diff(columns.track_bar_end, prepend=0).max(initial=0))


def with_bars(score: Score, count: int) -> Score:
    """The score with every track at least ``count`` bars long, and all of one length.

    Missing bars are added without notes: like the longest track's bars as far as it has them, then like the last bar
    (4/4 if there is none). Tracks share their bars in the result if these are the same.
    """
    columns = score.columns
    have = num_bars(score)
    count = max(count, have)
    if columns.track_bar_end is None:
        return score if count == have else _with_bar_columns(score, _padded_run(np.arange(have), count), None)
    ends = columns.track_bar_end.astype(np.int64)
    runs = np.split(np.arange(len(columns.bar_length)), ends)[: len(ends)]
    longest = max(runs, key=len, default=np.arange(0))
    chosen = [_padded_run(np.concatenate([run, longest[len(run) :]]), count) for run in runs]
    if all(_same_bars(columns, chosen[0], other) for other in chosen[1:]):
        return _with_bar_columns(score, chosen[0], None)
    track_bar_end = (np.arange(1, len(chosen) + 1) * count).astype(np.int32)
    return _with_bar_columns(score, np.concatenate(chosen), track_bar_end)


def with_track(score: Score, program: int, *, drum: bool = False) -> Score:
    """The score with an empty track after the others; its index is the previous number of tracks."""
    columns = score.columns
    tracks = len(columns.track_program) + 1
    added: dict[str, Any] = {
        "track_program": np.append(columns.track_program, np.uint8(program)),
        "track_drum": np.append(columns.track_drum, np.uint8(drum)),
        "track_nomml": np.append(columns.track_nomml, np.int8(-1)),
        "track_cell_end": np.append(columns.track_cell_end, np.int32(len(columns.cell_bar))),
        "track_offsets": np.array([0, tracks]),
    }
    if columns.track_bar_end is not None:
        added["track_bar_end"] = np.append(columns.track_bar_end, columns.track_bar_end[-1:])
    attributes = (*score.attributes, {}) if score.attributes else ()
    masked = (*score.masked, ()) if score.masked else ()
    longer = Score(attrs.evolve(columns, **added), attributes, masked)
    return longer if columns.track_bar_end is None else with_bars(longer, 0)


def with_signature(score: Score, bars: Sequence[int], signature: tuple[int, int]) -> Score:
    """The score with ``bars`` of every track in another time signature; notes stay where they are in their bars."""
    columns = with_own_bars(score.columns)
    length = num_bars(score)
    chosen = np.isin(np.arange(len(columns.bar_length)) % max(length, 1), np.asarray(bars))
    numerator, denominator = signature
    changed = attrs.evolve(
        columns,
        bar_numerator=np.where(chosen, numerator, columns.bar_numerator).astype(np.int32),
        bar_denominator=np.where(chosen, denominator, columns.bar_denominator).astype(np.int32),
        bar_length=np.where(chosen, 4 * numerator / denominator, columns.bar_length),
    )
    return with_bars(Score(changed, score.attributes, score.masked), 0)


def note_table(score: Score) -> NoteTable:
    """The notes of a score one by one, track by track and bar by bar."""
    columns = score.columns
    cells = np.diff(columns.track_cell_end, prepend=0)
    notes = np.diff(columns.cell_note_end, prepend=0)
    return NoteTable(
        track=np.repeat(np.repeat(np.arange(len(cells)), cells), notes),
        bar=np.repeat(columns.cell_bar, notes).astype(np.int64),
        **{name: getattr(columns, f"note_{name}") for name in NOTE_FIELDS},
    )


def excerpt(score: Score, first_bar: int, count: int, tracks: Sequence[int]) -> Score:
    """Bars ``first_bar`` to ``first_bar + count - 1`` of ``tracks``, in the order given, as a score of their own.

    Bars that a track lacks are empty, as :func:`with_bars` makes them.
    """
    whole = with_bars(score, first_bar + count)
    columns, chosen = whole.columns, np.asarray(tracks, np.int64)
    run = np.arange(first_bar, first_bar + count)
    own_bars = columns.track_bar_end is not None
    runs = (chosen[:, None] * num_bars(whole) + run).ravel() if own_bars else run
    ends = (np.arange(1, len(chosen) + 1) * count).astype(np.int32) if own_bars else None
    of_tracks: dict[str, Any] = {name: getattr(columns, name)[chosen] for name in _TRACK_COLUMNS}
    nothing: dict[str, Any] = {
        name: getattr(columns, name)[:0] for name in (*level_columns("cell"), *level_columns("note"))
    }
    empty = attrs.evolve(
        columns,
        **of_tracks,
        **nothing,
        track_cell_end=np.zeros(len(chosen), np.int32),
        track_offsets=np.array([0, len(chosen)]),
        cell_offsets=np.array([0, 0]),
        note_offsets=np.array([0, 0]),
    )
    place = np.full(len(columns.track_program), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    table = note_table(whole)
    table = table.where((place[table.track] >= 0) & (table.bar >= first_bar) & (table.bar < first_bar + count))
    table = attrs.evolve(table, track=place[table.track], bar=table.bar - first_bar)
    return replace_cells(_with_bar_columns(Score(empty), runs, ends), np.zeros((len(chosen), count), np.bool_), table)


def replace_cells(score: Score, cells: BoolArray, notes: NoteTable | None = None) -> Score:
    """The score with the notes of ``cells`` bool[tracks, bars] replaced by those of ``notes`` (None: by nothing).

    Everything else stays as it is, note for note. Notes of ``notes`` must lie in ``cells``.
    """
    table = note_table(score)
    kept = table.where(~cells[table.track, table.bar])
    parts = [kept] if notes is None else [kept, notes]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in attrs.fields_dict(NoteTable)}
    place = joined["track"] * cells.shape[1] + joined["bar"]
    order = np.argsort(place, kind="stable")
    occupied, counts = np.unique(place, return_counts=True)
    tracks, bars = np.divmod(occupied, max(cells.shape[1], 1))
    columns = score.columns
    columns_of_notes: dict[str, Any] = {f"note_{name}": joined[name][order] for name in NOTE_FIELDS}
    changed = attrs.evolve(
        columns,
        track_cell_end=np.searchsorted(tracks, np.arange(len(columns.track_program)), side="right").astype(np.int32),
        cell_bar=bars.astype(np.int32),
        cell_note_end=np.cumsum(counts).astype(np.int32),
        cell_offsets=np.array([0, len(occupied)]),
        note_offsets=np.array([0, len(order)]),
        **columns_of_notes,
    )
    return Score(changed, score.attributes, score.masked)


def _padded_run(run: Int64Array, count: int) -> Int64Array:
    """``run`` with its last bar repeated up to ``count`` bars; -1 means a bar in 4/4."""
    last = run[-1:] if len(run) else np.array([-1])
    return np.concatenate([run, np.repeat(last, max(count - len(run), 0))])


def _same_bars(columns: ScoreColumns, one: Int64Array, other: Int64Array) -> bool:
    return all(np.array_equal(getattr(columns, name)[one], getattr(columns, name)[other]) for name in _BAR_COLUMNS)


def _with_bar_columns(score: Score, chosen: Int64Array, track_bar_end: Int32Array | None) -> Score:
    # An extra bar at the end, for index -1.
    picked: dict[str, Any] = {
        name: np.append(column := getattr(score.columns, name), np.array([4], column.dtype))[chosen]
        for name in _BAR_COLUMNS
    }
    changed = attrs.evolve(score.columns, **picked, track_bar_end=track_bar_end, bar_offsets=np.array([0, len(chosen)]))
    return Score(changed, score.attributes, score.masked)
