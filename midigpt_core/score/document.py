"""Scores as plain JSON values: the form in which they are compared, hashed and stored.

    {"resolution": int, "tempo": int,
     "bars": [[numerator, denominator, length in quarters], ...],
     "tracks": [{"program": int, "drum": bool,
                 "notes": [[bar, onset, duration, pitch, velocity, microtiming], ...],
                 "attributes": {name: int}   if there are any, keys sorted
                 "bars": [...]               only if they differ from the first track's
                 "masked": [bar, ...]        only if there are any}]}

Reading accepts the same form, and also bars given only for every track.
"""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.errors import DataError
from midigpt_core.records import ScoreColumns
from midigpt_core.score.columns import COLUMNS, NOTE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from midigpt_core.records import Float64Array, Int32Array, Int64Array

_NOTE_LIMITS = {"pitch": 127, "velocity": 127}


def write(
    columns: ScoreColumns, attributes: Sequence[Mapping[str, int]], masked: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """The JSON object of one piece: its columns, and attributes and masked bars per track (empty: none have any)."""
    bar_runs = _bar_runs(columns)
    first = _bar_rows(columns, bar_runs[0] if bar_runs else slice(None))
    cells = _runs(columns.track_cell_end)
    tracks = []
    for index, bar_run in enumerate(bar_runs):
        content: dict[str, Any] = {
            "program": int(columns.track_program[index]),
            "drum": bool(columns.track_drum[index]),
            "notes": _note_rows(columns, cells[index]),
        }
        if attributes and attributes[index]:
            content["attributes"] = dict(sorted(attributes[index].items()))
        if columns.track_bar_end is not None and (bars := _bar_rows(columns, bar_run)) != first:
            content["bars"] = bars
        if masked and masked[index]:
            content["masked"] = list(masked[index])
        tracks.append(content)
    return {"resolution": columns.resolution, "tempo": int(columns.tempo[0]), "bars": first, "tracks": tracks}


def _runs(ends: Int32Array) -> list[slice]:
    """The runs of a column of ends that count from the piece's start."""
    return [slice(start, end) for start, end in itertools.pairwise([0, *ends.tolist()])]


def _bar_runs(columns: ScoreColumns) -> list[slice]:
    """Each track's bars within the bar columns."""
    if columns.track_bar_end is None:
        return [slice(None)] * len(columns.track_program)
    return _runs(columns.track_bar_end)


def _bar_rows(columns: ScoreColumns, bars: slice) -> list[list[int | float]]:
    fields = (columns.bar_numerator[bars], columns.bar_denominator[bars], columns.bar_length[bars])
    return [list(row) for row in zip(*(values.tolist() for values in fields), strict=True)]


def _note_rows(columns: ScoreColumns, cells: slice) -> list[list[int]]:
    """Bar, onset, duration, pitch, velocity and microtiming of the notes of ``cells``."""
    ends = np.concatenate([[0], columns.cell_note_end])[cells.start : cells.stop + 1]
    bar = np.repeat(columns.cell_bar[cells], np.diff(ends))
    fields = (getattr(columns, f"note_{field}")[ends[0] : ends[-1]] for field in NOTE_FIELDS)
    return [list(row) for row in zip(*(values.tolist() for values in (bar, *fields)), strict=True)]


def parse(
    content: Mapping[str, Any], name: str
) -> tuple[ScoreColumns, tuple[Mapping[str, int], ...], tuple[tuple[int, ...], ...]]:
    """Columns of one piece, attributes and masked bars per track. Raises DataError naming ``name`` and the field."""
    try:
        return _parse(content)
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{name}: not a score object: {reason}. Write one with Score.to_dict().") from error


def _parse(
    content: Mapping[str, Any],
) -> tuple[ScoreColumns, tuple[Mapping[str, int], ...], tuple[tuple[int, ...], ...]]:
    tracks: Sequence[Mapping[str, Any]] = content["tracks"]
    track_bars = [_table(track["bars"] if "bars" in track else content["bars"], 3, "bars") for track in tracks]
    own_bars = any(not np.array_equal(rows, track_bars[0]) for rows in track_bars)
    # A piece without tracks may still have bars.
    shared = track_bars[0] if tracks else _table(content.get("bars", ()), 3, "bars")
    bars = np.concatenate(track_bars) if own_bars else shared
    notes = [_parse_notes(track, len(track_bars[index]), index) for index, track in enumerate(tracks)]
    table = np.concatenate([*notes, np.zeros((0, 6), np.int64)])
    cell_bar, note_end, cell_end = _group_cells(notes)
    arrays: dict[str, Any] = {
        "tempo": [operator.index(content["tempo"])],
        "track_program": [_within(track["program"], 127, f"tracks[{i}].program") for i, track in enumerate(tracks)],
        "track_drum": [bool(track["drum"]) for track in tracks],
        "track_nomml": [-1] * len(tracks),
        "track_cell_end": cell_end,
        "bar_numerator": bars[:, 0].astype(np.int64),
        "bar_denominator": bars[:, 1].astype(np.int64),
        "bar_length": bars[:, 2],
        "cell_bar": cell_bar,
        "cell_note_end": note_end,
    }
    arrays |= {f"note_{field}": table[:, 1 + column] for column, field in enumerate(NOTE_FIELDS)}
    columns = ScoreColumns(
        resolution=operator.index(content["resolution"]),
        **{field: _narrow(arrays[field], spec.dtype, field) for field, spec in COLUMNS.items()},
        track_offsets=np.array([0, len(tracks)]),
        bar_offsets=np.array([0, len(bars)]),
        cell_offsets=np.array([0, len(cell_bar)]),
        note_offsets=np.array([0, len(table)]),
        track_bar_end=np.cumsum([len(rows) for rows in track_bars], dtype=np.int32) if own_bars else None,
    )
    attributes = tuple({n: operator.index(v) for n, v in track.get("attributes", {}).items()} for track in tracks)
    masked = tuple(tuple(sorted(map(operator.index, track.get("masked", ())))) for track in tracks)
    return columns, attributes if any(attributes) else (), masked if any(masked) else ()


def _within(value: Any, limit: int, where: str) -> int:
    number = operator.index(value)
    if not 0 <= number <= limit:
        raise ValueError(f"{where} is {number}, not within 0..{limit}")
    return number


def _table(rows: Any, width: int, where: str) -> Float64Array:
    table = np.array(rows, dtype=np.float64) if rows else np.zeros((0, width))
    if table.ndim != 2 or table.shape[1] != width:
        raise ValueError(f"{where} must be rows of {width} numbers")
    return table


def _parse_notes(track: Mapping[str, Any], num_bars: int, index: int) -> Int64Array:
    """The notes int64[n, 6] of a track, bar by bar, in stored order within a bar."""
    where = f"tracks[{index}].notes"
    table = _table(track["notes"], 6, where)
    notes = table.astype(np.int64)
    if not np.array_equal(notes, table):
        raise ValueError(f"{where} must be whole numbers")
    if len(notes) and not (notes[:, 0].min() >= 0 and notes[:, 0].max() < num_bars):
        raise ValueError(f"{where} has a bar outside 0..{num_bars - 1}")
    for field, limit in _NOTE_LIMITS.items():
        values = notes[:, 1 + NOTE_FIELDS.index(field)]
        if ((values < 0) | (values > limit)).any():
            raise ValueError(f"{where} has a {field} outside 0..{limit}")
    return notes[np.argsort(notes[:, 0], kind="stable")]


def _group_cells(tracks: Sequence[Int64Array]) -> tuple[list[int], list[int], list[int]]:
    """Bars of the non-empty cells, their note ends, and the cell ends of the tracks."""
    cell_bar: list[int] = []
    note_end: list[int] = []
    cell_end: list[int] = []
    total = 0
    for notes in tracks:
        bars, counts = np.unique(notes[:, 0], return_counts=True)
        cell_bar += bars.tolist()
        note_end += (total + np.cumsum(counts)).tolist()
        total += len(notes)
        cell_end.append(len(cell_bar))
    return cell_bar, note_end, cell_end


def _narrow(values: Any, dtype: np.dtype[Any], where: str) -> NDArray[Any]:
    wide = np.asarray(values)
    narrow = wide.astype(dtype)
    if not np.array_equal(narrow, wide):
        raise ValueError(f"{where} has a value that does not fit {dtype}")
    return narrow
