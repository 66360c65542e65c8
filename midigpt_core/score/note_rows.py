"""The notes of many pieces one by one, each with its piece, track and bar: what metrics count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import fields_dict, frozen

if TYPE_CHECKING:
    from midigpt_core.records import BoolArray, Int32Array, Int64Array, ScoreColumns, UInt8Array


@frozen(eq=False, kw_only=True)
class CellRows:
    """C cells (bars of a track that have notes), piece by piece, track by track, bar by bar."""

    #: int64[C], piece, track within the piece, bar within the track.
    piece: Int64Array
    track: Int64Array
    bar: Int64Array
    #: bool[C], whether the track is a drum track.
    drum: BoolArray
    #: int64[C], number of notes, at least 1.
    notes: Int64Array

    def __len__(self) -> int:
        return len(self.piece)


@frozen(eq=False, kw_only=True)
class NoteRows:
    """n notes in the order of their cells; units as in :class:`~midigpt_core.records.ScoreColumns`."""

    #: int64[n], piece, track within the piece, bar within the track.
    piece: Int64Array
    track: Int64Array
    bar: Int64Array
    #: bool[n], whether the track is a drum track.
    drum: BoolArray
    #: int32[n], ticks from the start of the bar, and ticks.
    onset: Int32Array
    duration: Int32Array
    #: uint8[n]
    pitch: UInt8Array

    def __len__(self) -> int:
        return len(self.piece)

    def where(self, chosen: BoolArray) -> NoteRows:
        """The notes for which ``chosen`` bool[n] is True."""
        return NoteRows(**{name: getattr(self, name)[chosen] for name in fields_dict(NoteRows)})

    def on_grid(self, resolution: int, grid: int) -> tuple[Int64Array, Int64Array]:
        """Onsets and durations int64[n] in steps of 1/``grid`` of a quarter, rounded down as encoders do; a duration is
        at least 1. ``resolution``: that of the columns."""
        onset = self.onset.astype(np.int64) * grid // resolution
        return onset, np.maximum(self.duration.astype(np.int64) * grid // resolution, 1)


def cell_rows(columns: ScoreColumns, first: int = 0, end: int | None = None) -> CellRows:
    """The cells of the pieces ``first`` to ``end`` (exclusive; None: the last), without copies of other pieces."""
    end = columns.num_pieces if end is None else end
    tracks = slice(int(columns.track_offsets[first]), int(columns.track_offsets[end]))
    cells = slice(int(columns.cell_offsets[first]), int(columns.cell_offsets[end]))
    pieces = np.arange(first, end)
    track_piece = np.repeat(pieces, np.diff(columns.track_offsets[first : end + 1]))
    cell_piece = np.repeat(pieces, np.diff(columns.cell_offsets[first : end + 1]))
    # Ends ascend through all pieces once they count from the first cell here; a track without cells is skipped.
    track_ends = columns.track_cell_end[tracks] + columns.cell_offsets[track_piece] - cells.start
    owner = np.searchsorted(track_ends, np.arange(cells.stop - cells.start), side="right")
    note_ends = columns.cell_note_end[cells] + columns.note_offsets[cell_piece]
    return CellRows(
        piece=cell_piece,
        track=owner + tracks.start - columns.track_offsets[cell_piece],
        bar=columns.cell_bar[cells].astype(np.int64),
        drum=columns.track_drum[tracks][owner] != 0,
        notes=np.diff(note_ends, prepend=columns.note_offsets[first]),
    )


def note_rows(columns: ScoreColumns) -> NoteRows:
    """All notes of all pieces."""
    cells = cell_rows(columns)
    repeated = {name: np.repeat(getattr(cells, name), cells.notes) for name in ("piece", "track", "bar", "drum")}
    return NoteRows(**repeated, onset=columns.note_onset, duration=columns.note_duration, pitch=columns.note_pitch)
