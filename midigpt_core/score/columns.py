"""Score columns by the native table: their level and dtype, and how to join, pick and make them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

import attrs
import numpy as np

from midigpt_core import _native, memory
from midigpt_core.records import CORPUS_RESOLUTION, Corpus, CorpusShard, PieceTable, ScoreColumns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from midigpt_core.records import Int64Array

Level = Literal["piece", "track", "bar", "cell", "note"]


class ColumnSpec(NamedTuple):
    """Where a column has its values (one per piece, track, bar, cell or note) and their dtype."""

    level: Level
    dtype: np.dtype[Any]


#: The columns of :class:`~midigpt_core.records.ScoreColumns` by field name: those that every score has, offsets aside.
COLUMNS: Mapping[str, ColumnSpec] = MappingProxyType(
    {
        name: ColumnSpec(cast("Level", level), np.dtype(dtype))
        for level, dtype, name, may_be_none in _native.score_columns()
        if level != "offsets" and not may_be_none
    }
)

#: Level -> field with the int64[P+1] offsets of its runs.
OFFSETS: Mapping[Level, str] = MappingProxyType(
    {
        cast("Level", name.removesuffix("_offsets")): name
        for level, _, name, _ in _native.score_columns()
        if level == "offsets"
    }
)


def level_columns(level: str) -> dict[str, np.dtype[Any]]:
    """Field of :class:`~midigpt_core.records.ScoreColumns` -> dtype, of one level."""
    return {name: spec.dtype for name, spec in COLUMNS.items() if spec.level == level}


#: The fields of a note: the names of its columns without ``note_``.
NOTE_FIELDS = tuple(name.removeprefix("note_") for name in level_columns("note"))


def empty(resolution: int = CORPUS_RESOLUTION) -> ScoreColumns:
    """Columns without any piece."""
    columns: dict[str, Any] = {name: np.zeros(0, spec.dtype) for name, spec in COLUMNS.items()}
    offsets: dict[str, Any] = {name: np.zeros(1, np.int64) for name in OFFSETS.values()}
    return ScoreColumns(resolution=resolution, **columns, **offsets)


def concatenate(batches: Sequence[ScoreColumns]) -> ScoreColumns:
    """Join the pieces of several columns, one after another. Raises ValueError unless all have the same resolution.

    If some have shared bars and some own bars per track, the result has own bars throughout.
    """
    if not batches:
        return empty()
    if len({batch.resolution for batch in batches}) > 1:
        raise ValueError("columns of different resolutions cannot be joined; resample them first")
    if len(batches) == 1:
        return batches[0]
    own_bars = any(batch.track_bar_end is not None for batch in batches)
    if own_bars:
        batches = [with_own_bars(batch) for batch in batches]
    joined: dict[str, Any] = {name: memory.concatenate([getattr(b, name) for b in batches]) for name in COLUMNS}
    for name in OFFSETS.values():
        ends = np.concatenate([np.diff(getattr(batch, name)) for batch in batches])
        joined[name] = _offsets(ends)
    if own_bars:
        joined["track_bar_end"] = np.concatenate([batch.track_bar_end for batch in batches])
    return ScoreColumns(resolution=batches[0].resolution, **joined)


def select(columns: ScoreColumns, pieces: Sequence[int] | NDArray[np.integer]) -> ScoreColumns:
    """The given pieces (indices, in any order, repeats allowed) as columns of their own: a copy."""
    chosen = np.asarray(pieces, dtype=np.int64)
    indices: dict[str, Int64Array] = {"piece": chosen}
    picked: dict[str, Any] = {}
    for level, name in OFFSETS.items():
        offsets: Int64Array = getattr(columns, name)
        starts = offsets[chosen]
        sizes = offsets[chosen + 1] - starts
        picked[name] = _offsets(sizes)
        indices[level] = np.repeat(starts - picked[name][:-1], sizes) + np.arange(picked[name][-1])
    for name, spec in COLUMNS.items():
        picked[name] = getattr(columns, name)[indices[spec.level]]
    if columns.track_bar_end is not None:
        picked["track_bar_end"] = columns.track_bar_end[indices["track"]]
    return ScoreColumns(resolution=columns.resolution, **picked)


def with_own_bars(columns: ScoreColumns) -> ScoreColumns:
    """The same pieces with the bars of each track written out (``track_bar_end`` set)."""
    if columns.track_bar_end is not None:
        return columns
    tracks = np.diff(columns.track_offsets)
    bars = np.diff(columns.bar_offsets)
    per_track = np.repeat(bars, tracks)
    starts = np.repeat(columns.bar_offsets[:-1], tracks)
    ends = np.cumsum(per_track)
    source = np.repeat(starts - (ends - per_track), per_track) + np.arange(ends[-1] if len(ends) else 0)
    order = np.arange(len(per_track)) - np.repeat(columns.track_offsets[:-1], tracks)
    return attrs.evolve(
        columns,
        bar_offsets=_offsets(tracks * bars),
        bar_numerator=columns.bar_numerator[source],
        bar_denominator=columns.bar_denominator[source],
        bar_length=columns.bar_length[source],
        track_bar_end=((order + 1) * per_track).astype(np.int32),
    )


class HasColumns(Protocol):
    """A piece: a :class:`~midigpt_core.score.Score`."""

    @property
    def columns(self) -> ScoreColumns: ...


def in_memory_corpus(scores: Sequence[HasColumns]) -> Corpus:
    """A corpus of one shard that holds ``scores`` (all of one resolution), for encoding without files."""
    columns = concatenate([score.columns for score in scores])
    count = columns.num_pieces
    nothing = np.zeros(0, np.uint8)
    pieces = PieceTable(
        id_offsets=np.zeros(count + 1, np.int64),
        id_bytes=nothing,
        row=np.arange(count),
        status=np.zeros(count, np.uint8),
        # Duplicates are not looked for in memory.
        content_hash=np.zeros((count, 16), np.uint8),
        genre_offsets=np.zeros(count + 1, np.int64),
        genre_bytes=nothing,
    )
    shard = CorpusShard(source="<memory>", columns=columns, pieces=pieces)
    return Corpus([shard], np.array([0, count]))


def _offsets(sizes: NDArray[np.integer]) -> Int64Array:
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets
