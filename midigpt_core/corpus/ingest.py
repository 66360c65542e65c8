"""Turns a batch of a source's rows and the parser's results into pieces of a corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from midigpt_core.corpus import status
from midigpt_core.records import PieceTable
from midigpt_core.score.columns import select
from midigpt_core.score.content_hash import content_hashes

if TYPE_CHECKING:
    from midigpt_core.contracts import RowBatch
    from midigpt_core.records import BoolArray, Int8Array, Int64Array, ScoreColumns, UInt8Array
    from midigpt_core.score.reading import ReadResult

_NO_LEVEL = -1


def midi_buffers(rows: RowBatch) -> tuple[UInt8Array, Int64Array]:
    """The MIDI files of a batch as bytes and int64[n + 1] offsets from 0; a null is an empty file."""
    midi = rows.midi if rows.midi.type == pa.large_binary() else pc.cast(rows.midi, pa.large_binary())
    _, offsets, data = midi.buffers()
    if len(midi) == 0 or data is None:
        return np.zeros(0, np.uint8), np.zeros(len(midi) + 1, np.int64)
    ends = np.frombuffer(offsets, np.int64)[midi.offset : midi.offset + len(midi) + 1]
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]], ends - ends[0]


def contradiction(rows: RowBatch) -> str:
    """How a source's batch breaks the contract of :class:`RowBatch`; empty if it does not."""
    if not isinstance(rows.row, np.ndarray) or rows.row.dtype.kind not in "iu" or rows.row.ndim != 1:
        kind = getattr(rows.row, "dtype", type(rows.row).__name__)
        return f"row as {kind}, not as a one-dimensional array of int64"
    given = {"ids": rows.ids, "midi": rows.midi, "genre": rows.genre, "nomml": rows.nomml}
    for name, values in given.items():
        if values is None and name in ("genre", "nomml"):
            continue
        if not isinstance(values, pa.Array):
            return f"{name} as {type(values).__name__}, not as an Arrow array"
        if len(values) != len(rows.row):
            return f"{len(values)} {name} for {len(rows.row)} rows"
    return ""


def within_bars(
    rows: RowBatch, parsed: ReadResult
) -> tuple[RowBatch, ReadResult, tuple[dict[str, int], dict[str, list[tuple[int, str]]]]]:
    """The rows whose pieces have as many bars as :attr:`RowBatch.bars` allows, or could not be read; and the number of
    the others, and all of them with their names, by reason."""
    least, most = rows.bars
    if least is None and most is None:
        return rows, parsed, ({}, {})
    bars = np.diff(parsed.columns.bar_offsets)
    is_piece = (parsed.status == status.KEPT) & ~_is_null(rows.midi)
    few = is_piece & (bars < (least or 0))
    many = is_piece & (bars > most) if most is not None else np.zeros(len(bars), np.bool_)
    outside = {reason: np.flatnonzero(mask) for reason, mask in (("min_bars", few), ("max_bars", many)) if mask.any()}
    named = {
        reason: [(int(rows.row[index]), rows.ids[index].as_py() or "") for index in indices.tolist()]
        for reason, indices in outside.items()
    }
    keep = ~(few | many)
    chosen = pa.array(keep)
    kept = attrs.evolve(
        rows,
        row=rows.row[keep],
        ids=rows.ids.filter(chosen),
        midi=rows.midi.filter(chosen),
        genre=None if rows.genre is None else rows.genre.filter(chosen),
        nomml=None if rows.nomml is None else rows.nomml.filter(chosen),
        metadata={name: values.filter(chosen) for name, values in rows.metadata.items()},
    )
    read = attrs.evolve(
        parsed,
        columns=select(parsed.columns, np.flatnonzero(keep)),
        status=parsed.status[keep],
        error_offset=parsed.error_offset[keep],
    )
    return kept, read, ({reason: len(indices) for reason, indices in outside.items()}, named)


def to_pieces(rows: RowBatch, parsed: ReadResult) -> tuple[ScoreColumns, PieceTable]:
    """The batch's pieces, one per row, in the rows' order."""
    columns = attrs.evolve(parsed.columns, track_nomml=_track_nomml(parsed.columns, rows.nomml))
    # A row without bytes has a reason of its own, whatever the parser reports for it.
    codes = np.where(_is_null(rows.midi), np.uint8(status.NULL_MUSIC), parsed.status)
    hashes = content_hashes(columns)
    hashes[codes != status.KEPT] = 0
    id_offsets, id_bytes = _text(rows.ids)
    genre_offsets, genre_bytes = _text(rows.genre if rows.genre is not None else pa.nulls(len(codes), pa.string()))
    return columns, PieceTable(
        id_offsets=id_offsets,
        id_bytes=id_bytes,
        row=rows.row,
        status=codes,
        content_hash=hashes,
        genre_offsets=genre_offsets,
        genre_bytes=genre_bytes,
    )


def _is_null(array: pa.Array) -> BoolArray:
    nulls: BoolArray = array.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _text(texts: pa.Array) -> tuple[Int64Array, UInt8Array]:
    """int64[n + 1] offsets from 0 and UTF-8; a null is an empty text."""
    filled = pc.fill_null(pc.cast(texts, pa.large_string()), "")
    _, offsets, data = filled.buffers()
    if len(filled) == 0 or data is None:
        return np.zeros(len(filled) + 1, np.int64), np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int64)[filled.offset : filled.offset + len(filled) + 1]
    return ends - ends[0], np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]


def _track_nomml(columns: ScoreColumns, levels: pa.Array | None) -> Int8Array:
    """int8[T] from lists per piece: the list's entry by track index, -1 beyond its end.

    Older GigaMIDI releases skip tracks without notes: a list that is as long as there are tracks with notes, and not
    as long as there are tracks, counts only the tracks with notes.
    """
    num_tracks = len(columns.track_program)
    if levels is None or num_tracks == 0:
        return np.full(num_tracks, _NO_LEVEL, np.int8)
    starts, lengths, values = _lists(levels)
    per_piece = np.diff(columns.track_offsets)
    piece = np.repeat(np.arange(columns.num_pieces), per_piece)
    index = np.arange(num_tracks) - columns.track_offsets[piece]
    has_notes = _cells_per_track(columns, index) > 0
    noted_before: Int64Array = np.cumsum(has_notes) - has_notes
    rank: Int64Array = noted_before - noted_before[np.minimum(columns.track_offsets[piece], num_tracks - 1)]
    noted = np.bincount(piece, weights=has_notes, minlength=columns.num_pieces).astype(np.int64)
    skips = (lengths == noted) & (lengths != per_piece)
    entry = np.where(skips[piece], np.where(has_notes, rank, lengths[piece]), index)
    inside = entry < lengths[piece]
    result = np.full(num_tracks, _NO_LEVEL, np.int8)
    found = values[(starts[piece] + entry)[inside]]
    result[inside] = np.where((found >= 0) & (found <= np.iinfo(np.int8).max), found, _NO_LEVEL)
    return result


def _cells_per_track(columns: ScoreColumns, index: Int64Array) -> Int64Array:
    ends = columns.track_cell_end.astype(np.int64)
    starts = np.where(index == 0, 0, np.concatenate([[0], ends[:-1]]))
    return ends - starts


def _lists(levels: pa.Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Start and length of each list in the values; nulls are empty lists and level -1."""
    lengths = pc.fill_null(pc.list_value_length(levels), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = pc.fill_null(pc.list_flatten(levels), _NO_LEVEL).to_numpy(zero_copy_only=False).astype(np.int64)
    return np.cumsum(lengths) - lengths, lengths, values
