"""Windows whose bars are rotated, or whose notes take half or double their time on the same grid.

Such windows are written out as pieces of their own, which an encoder reads as it reads any other: the windows that
:class:`midigpt_core.data.windows.WindowDrawer` draws keep their bars, tracks and cells. ``docs/sampling.md`` defines
the distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import evolve, frozen

from midigpt_core.keys import Stage, derive, uniforms
from midigpt_core.records import Corpus, CorpusShard, PieceTable, ScoreColumns
from midigpt_core.score.columns import COLUMNS, OFFSETS, select, with_own_bars
from midigpt_core.score.note_rows import note_rows

if TYPE_CHECKING:
    from midigpt_core.data.settings import StreamSettings
    from midigpt_core.records import BoolArray, Int64Array, UInt64Array, WindowBatch

#: How the notes of a window are stretched.
_AS_THEY_ARE, _DOUBLE, _HALF = range(3)
_UNKNOWN = -1
_LONGEST = np.iinfo(np.int32).max


@frozen(eq=False, kw_only=True)
class _Change:
    """What is done to W windows, all columns int64[W]."""

    stretch: Int64Array
    #: The first bar that is read of a window's piece, and how many are read.
    first: Int64Array
    read: Int64Array
    #: Bar ``b`` of the result is bar ``b + rotation`` of the window, counted around.
    rotation: Int64Array
    #: The first bar of the window as it was drawn.
    drawn: Int64Array

    def only(self, chosen: BoolArray | Int64Array) -> _Change:
        """The windows that a mask or indices choose."""
        return _Change(**{name: getattr(self, name)[chosen] for name in attrs.fields_dict(_Change)})


class WindowReshaper:
    """Stretches and rotates the windows of a corpus by key."""

    def __init__(self, corpus: Corpus, settings: StreamSettings) -> None:
        self._corpus = corpus
        self._settings = settings

    def reshape(self, keys: UInt64Array, windows: WindowBatch) -> tuple[Corpus, WindowBatch]:
        """What an encoder is to read for ``windows``, drawn with ``keys``: a corpus, and windows of it.

        A window depends on its own key only. It stays as it is if it draws no change, if its bars, when stretched, are
        not all of one length and time signature or leave its piece, or if a track would then have fewer bars with notes
        than ``min_fill_ratio`` asks for.
        """
        settings = self._settings
        if settings.time_stretch_probability == settings.bar_rotation_probability == 0 or len(windows) == 0:
            return self._corpus, windows
        change = self._drawn(keys, windows)
        shards, local = self._corpus.locate(windows.piece)
        extra: list[CorpusShard] = []
        piece, start_bar, tracks = windows.piece.copy(), windows.start_bar.copy(), windows.tracks.copy()
        after = self._corpus.num_pieces
        for number in np.unique(shards).tolist():
            rows = np.flatnonzero((shards == number) & ((change.stretch != _AS_THEY_ARE) | (change.rotation > 0)))
            if not len(rows):
                continue
            columns = with_own_bars(select(self._corpus.shards[number].columns, local[rows]))
            own = _OwnBars(columns, windows.tracks[rows], windows.num_bars[rows].astype(np.int64))
            wanted = own.usable(change.only(rows), settings.min_fill_ratio)
            changed = (wanted.stretch != _AS_THEY_ARE) | (wanted.rotation > 0)
            rows, wanted, own = rows[changed], wanted.only(changed), own.only(changed)
            if not len(rows):
                continue
            written = own.written(wanted)
            extra.append(
                CorpusShard(source=self._corpus.shards[number].source, columns=written, pieces=_table(written))
            )
            piece[rows] = after + np.arange(len(rows))
            after += len(rows)
            start_bar[rows] = 0
            place = np.arange(tracks.shape[1], dtype=np.int32)
            tracks[rows] = np.where(tracks[rows] >= 0, place, np.int32(-1))
        if not extra:
            return self._corpus, windows
        counts = [one.columns.num_pieces for one in extra]
        offsets = np.concatenate([self._corpus.piece_offsets, self._corpus.num_pieces + np.cumsum(counts)])
        reshaped = evolve(windows, piece=piece, start_bar=start_bar, tracks=tracks)
        return Corpus([*self._corpus.shards, *extra], offsets), reshaped

    def _drawn(self, keys: UInt64Array, windows: WindowBatch) -> _Change:
        bars = windows.num_bars.astype(np.int64)
        stretching = uniforms(derive(keys, Stage.STRETCH), 3)
        is_stretched = stretching[:, 0] < self._settings.time_stretch_probability
        stretch = np.where(stretching[:, 1] < 0.5, _DOUBLE, _HALF) * is_stretched
        # Notes of double time fill the window from half of its bars; those of half the time take as many again.
        read = np.select([stretch == _DOUBLE, stretch == _HALF], [(bars + 1) // 2, 2 * bars], bars)
        offset = np.where(stretch == _DOUBLE, _below_each(stretching[:, 2], bars - (bars + 1) // 2 + 1), 0)
        rotating = uniforms(derive(keys, Stage.ROTATE), 2)
        is_rotated = (rotating[:, 0] < self._settings.bar_rotation_probability) & (bars > 1)
        rotation = np.where(is_rotated, 1 + _below_each(rotating[:, 1], np.maximum(bars - 1, 1)), 0)
        drawn = windows.start_bar.astype(np.int64)
        return _Change(stretch=stretch, first=drawn + offset, read=read, rotation=rotation, drawn=drawn)


def _below_each(chances: Any, limits: Int64Array) -> Int64Array:
    """Integers uniform in [0, limit), one for each number of ``chances``."""
    drawn: Int64Array = np.minimum((chances * limits).astype(np.int64), limits - 1)
    return drawn


@frozen(eq=False, kw_only=True)
class _Notes:
    """The notes of windows by window, place of the track in it, and bar: int64[n] each."""

    window: Int64Array
    place: Int64Array
    bar: Int64Array
    onset: Int64Array
    duration: Int64Array
    #: Index in the columns.
    note: Int64Array


class _OwnBars:
    """W windows of one shard, each of the piece of the same number in ``columns``, whose tracks have own bars."""

    def __init__(self, columns: ScoreColumns, tracks: Any, bars: Int64Array) -> None:
        assert columns.track_bar_end is not None
        self._columns = columns
        #: int[W, T]
        self._tracks = tracks
        self._bars = bars
        # First bar and number of bars of each place's track: int64[W, T].
        index = columns.track_offsets[:-1, None] + np.maximum(tracks, 0)
        ends = columns.track_bar_end[index].astype(np.int64)
        starts = np.where(tracks > 0, columns.track_bar_end[np.maximum(index - 1, 0)], 0).astype(np.int64)
        self._first_bar = columns.bar_offsets[:-1, None] + starts
        self._num_bars = ends - starts

    def only(self, chosen: BoolArray) -> _OwnBars:
        return _OwnBars(select(self._columns, np.flatnonzero(chosen)), self._tracks[chosen], self._bars[chosen])

    def usable(self, change: _Change, min_fill_ratio: float) -> _Change:
        """``change`` without the stretching that does not work out; the windows are then only rotated."""
        whole = (self._tracks < 0) | ((change.first + change.read)[:, None] <= self._num_bars)
        fits = whole.all(axis=1)
        steady = fits & self._steady(change, fits)
        change = self._unstretched(change, ~steady)
        filled = self._filled(change, min_fill_ratio)
        return self._unstretched(change, ~filled)

    def written(self, change: _Change) -> ScoreColumns:
        """The windows as pieces: their tracks, as many bars as a window has, and their notes."""
        columns, tracks = self._columns, self._tracks
        here = tracks >= 0
        counts = here.sum(axis=1)
        notes = self._rotated(self._stretched(change), change)
        order = np.lexsort((np.arange(len(notes.note)), notes.bar, notes.place, notes.window))
        cell_keys = np.stack([notes.window, notes.place, notes.bar], axis=1)[order]
        begins = np.ones(len(order), np.bool_)
        begins[1:] = (cell_keys[1:] != cell_keys[:-1]).any(axis=1)
        cells = cell_keys[begins]
        note_of_cell = np.diff(np.append(np.flatnonzero(begins), len(order)))
        track = (columns.track_offsets[:-1, None] + np.maximum(tracks, 0))[here]
        window_of_track = np.repeat(np.arange(len(tracks)), counts)
        bar = self._bar_rows(change)
        picked: dict[str, Any] = {"track": track, "bar": bar, "note": notes.note[order]}
        made: dict[str, Any] = {
            name: getattr(columns, name)[picked[spec.level]] for name, spec in COLUMNS.items() if spec.level in picked
        }
        made |= {name: getattr(columns, name) for name, spec in COLUMNS.items() if spec.level == "piece"}
        made["note_onset"] = np.minimum(notes.onset[order], _LONGEST).astype(np.int32)
        made["note_duration"] = np.minimum(notes.duration[order], _LONGEST).astype(np.int32)
        # The level is that of the notes as they were.
        stretched = (change.stretch != _AS_THEY_ARE)[window_of_track]
        made["track_nomml"] = np.where(stretched, np.int8(_UNKNOWN), made["track_nomml"])
        # Ends count from the start of their piece.
        per_window = np.bincount(cells[:, 0], minlength=len(tracks))
        notes_per_window = np.bincount(cells[:, 0], weights=note_of_cell, minlength=len(tracks)).astype(np.int64)
        width = tracks.shape[1]
        per_track = np.bincount(cells[:, 0] * width + cells[:, 1], minlength=len(tracks) * width)
        made["track_cell_end"] = np.cumsum(per_track.reshape(-1, width), axis=1)[here].astype(np.int32)
        made["cell_bar"] = cells[:, 2].astype(np.int32)
        note_starts = np.cumsum(notes_per_window) - notes_per_window
        made["cell_note_end"] = (np.cumsum(note_of_cell) - note_starts[cells[:, 0]]).astype(np.int32)
        bars_of_track = self._bars[window_of_track]
        place = np.arange(len(window_of_track)) - np.repeat(np.cumsum(counts) - counts, counts)
        made["track_bar_end"] = ((place + 1) * bars_of_track).astype(np.int32)
        sizes = {"track": counts, "bar": counts * self._bars, "cell": per_window, "note": notes_per_window}
        made |= {name: np.concatenate([[0], np.cumsum(sizes[level])]) for level, name in OFFSETS.items()}
        return ScoreColumns(resolution=columns.resolution, **made)

    def _bar_rows(self, change: _Change) -> Int64Array:
        """The bar of ``columns`` whose length and signature each bar of the written pieces has. Bars that are stretched
        over are all alike."""
        rows = []
        for window, count in enumerate(self._bars.tolist()):
            around = (np.arange(count) + change.rotation[window]) % count
            within = np.minimum(around, change.read[window] - 1)
            here = self._tracks[window] >= 0
            rows.append((self._first_bar[window][here, None] + change.first[window] + within).ravel())
        return np.concatenate([np.zeros(0, np.int64), *rows])

    def _steady(self, change: _Change, fits: BoolArray) -> BoolArray:
        """Whether all bars that are read have one length, in whole ticks, and one signature, in every track."""
        columns = self._columns
        steady = np.ones(len(fits), np.bool_)
        for window in np.flatnonzero(fits & (change.stretch != _AS_THEY_ARE)).tolist():
            here = self._tracks[window] >= 0
            first = self._first_bar[window][here, None] + change.first[window]
            bars = (first + np.arange(change.read[window])).ravel()
            ticks = columns.bar_length[bars] * columns.resolution
            same = (ticks == ticks[0]) & (columns.bar_numerator[bars] == columns.bar_numerator[bars[0]])
            same &= columns.bar_denominator[bars] == columns.bar_denominator[bars[0]]
            steady[window] = same.all() and ticks[0] >= 1 and ticks[0] == np.floor(ticks[0])
        return steady

    def _unstretched(self, change: _Change, which: BoolArray) -> _Change:
        """``change`` with the windows ``which`` not stretched; they read the bars that they were drawn with."""
        back = which & (change.stretch != _AS_THEY_ARE)
        return _Change(
            stretch=np.where(back, _AS_THEY_ARE, change.stretch),
            first=np.where(back, change.drawn, change.first),
            read=np.where(back, self._bars, change.read),
            rotation=change.rotation,
            drawn=change.drawn,
        )

    def _filled(self, change: _Change, min_fill_ratio: float) -> BoolArray:
        """Whether every track has enough bars with notes."""
        notes = self._stretched(change)
        longest = int(self._bars.max(initial=1))
        width = self._tracks.shape[1]
        has_notes = np.zeros((len(self._bars), width, longest), np.bool_)
        has_notes[notes.window, notes.place, notes.bar] = True
        needed = np.maximum(1, np.ceil(min_fill_ratio * self._bars - 1e-9).astype(np.int64))
        enough: BoolArray = ((has_notes.sum(axis=2) >= needed[:, None]) | (self._tracks < 0)).all(axis=1)
        return enough

    def _stretched(self, change: _Change) -> _Notes:
        """The notes of the bars that are read, in the bars of the windows."""
        columns = self._columns
        rows = note_rows(columns)
        place_of = np.full((len(self._tracks), int(np.diff(columns.track_offsets).max(initial=1))), -1, np.int64)
        window, place = np.nonzero(self._tracks >= 0)
        place_of[window, self._tracks[window, place]] = place
        place = place_of[rows.piece, rows.track]
        bar = rows.bar - change.first[rows.piece]
        read = np.flatnonzero((place >= 0) & (bar >= 0) & (bar < change.read[rows.piece]))
        window, place, bar = rows.piece[read], place[read], bar[read]
        onset, duration = rows.onset[read].astype(np.int64), rows.duration[read].astype(np.int64)
        stretch = change.stretch[window]
        ticks = self._ticks(change)[window]
        time = bar * ticks + onset
        time = np.select([stretch == _DOUBLE, stretch == _HALF], [time * 2, time // 2], time)
        duration = np.select(
            [stretch == _DOUBLE, stretch == _HALF], [duration * 2, np.maximum(duration // 2, 1)], duration
        )
        moved = stretch != _AS_THEY_ARE
        bar = np.where(moved, time // ticks, bar)
        onset = np.where(moved, time % ticks, onset)
        kept = bar < self._bars[window]
        return _Notes(
            window=window[kept], place=place[kept], bar=bar[kept], onset=onset[kept], duration=duration[kept],
            note=read[kept],
        )  # fmt: skip

    def _rotated(self, notes: _Notes, change: _Change) -> _Notes:
        return evolve(notes, bar=(notes.bar - change.rotation[notes.window]) % self._bars[notes.window])

    def _ticks(self, change: _Change) -> Int64Array:
        """Ticks of a bar of each window that is stretched; 1 for the others."""
        columns = self._columns
        first = self._first_bar[:, 0] + np.where(change.stretch != _AS_THEY_ARE, change.first, 0)
        lengths = columns.bar_length[np.minimum(first, len(columns.bar_length) - 1)] * columns.resolution
        ticks: Int64Array = np.where(change.stretch != _AS_THEY_ARE, lengths, 1).astype(np.int64)
        return ticks


def _table(columns: ScoreColumns) -> PieceTable:
    """Pieces without a name: messages name the pieces that the windows were drawn from."""
    count = columns.num_pieces
    nothing = np.zeros(0, np.uint8)
    return PieceTable(
        id_offsets=np.zeros(count + 1, np.int64),
        id_bytes=nothing,
        row=np.arange(count),
        status=np.zeros(count, np.uint8),
        content_hash=np.zeros((count, 16), np.uint8),
        genre_offsets=np.zeros(count + 1, np.int64),
        genre_bytes=nothing,
    )
