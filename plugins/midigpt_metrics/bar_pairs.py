"""What bars of a track have in common: the groove of neighbours, and self-similarity over distances."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve, frozen

from midigpt_core.records import Figure
from midigpt_core.score.note_rows import note_rows
from midigpt_metrics.estimates import ratio, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.contracts import MetricContext
    from midigpt_core.records import BoolArray, Float64Array, GeneratedMusic, Int64Array, ScoreColumns
    from midigpt_core.score.note_rows import NoteRows
    from midigpt_metrics.options import Grid


@frozen
class _Groove:
    """1 less the mean share of places at which one of two neighbouring bars has an onset and the other has none.

    Pairs of bars of equal length in one track, of which at least one was generated.
    """

    seed: int
    grid: int

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        lengths = _bar_lengths(music.true, music.cells.shape[2], self.grid)
        pairs = _pairs(music.cells, lengths, 1) & (lengths[:, 1:] == lengths[:, :-1])[:, None]
        places = lengths[:, None, 1:]

        def similar(columns: ScoreColumns) -> Float64Array:
            notes = note_rows(columns)
            onset, _ = notes.on_grid(columns.resolution, self.grid)
            either, both = _in_common(_cell_numbers(notes, music.cells.shape), onset, music.cells.shape, 1)
            alike: Float64Array = 1 - (either - both) / np.maximum(places, 1)
            sums: Float64Array = np.where(pairs, alike, 0).sum(axis=(1, 2))
            return sums

        weights = pairs.sum(axis=(1, 2)).astype(np.float64)
        figure = ratio(
            self.seed,
            similar(music.generated),
            weights,
            baseline=share(similar(music.true), weights),
            count=int(weights.sum()),
            counted="bar pairs",
            is_share=True,
        )
        return {"": figure}


@frozen
class _SelfSimilarity:
    """The mean share of notes that a bar has in common with a bar of the same track t bars before, over all t.

    Notes are equal if onset, duration and pitch are; the share is of the notes in either bar. Pairs of which at least
    one bar was generated and one has notes. ``error`` is the mean over t of the difference to the true bars' mean.
    """

    seed: int
    grid: int

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        generated, generated_weights = self._by_distance(music.generated, music)
        true, true_weights = self._by_distance(music.true, music)
        main = ratio(
            self.seed,
            generated.sum(axis=1),
            generated_weights.sum(axis=1),
            baseline=share(true.sum(axis=1), true_weights.sum(axis=1)),
            count=int(generated_weights.sum()),
            counted="bar pairs",
            is_share=True,
        )
        both = (generated_weights.sum(axis=0) > 0) & (true_weights.sum(axis=0) > 0)
        means = [
            sums.sum(axis=0)[both] / weights.sum(axis=0)[both]
            for sums, weights in ((generated, generated_weights), (true, true_weights))
        ]
        error = float(np.abs(means[0] - means[1]).mean()) if both.any() else None
        of_error = Figure(value=error, count=int(both.sum()), counted="distances", is_share=True)
        return {"": main, "error": evolve(of_error, baseline=None)}

    def _by_distance(self, columns: ScoreColumns, music: GeneratedMusic) -> tuple[Float64Array, Float64Array]:
        """Sums of shares, and numbers of pairs, by excerpt and distance: float64[N, B - 1] each, from distance 1 on."""
        shape = music.cells.shape
        notes = note_rows(columns)
        onset, duration = notes.on_grid(columns.resolution, self.grid)
        _, kinds = np.unique(np.stack([onset, duration, notes.pitch]), axis=1, return_inverse=True)
        cells = _cell_numbers(notes, shape)
        lengths = _bar_lengths(columns, shape[2], self.grid)
        sums, weights = (np.zeros((shape[0], max(shape[2] - 1, 0))) for _ in range(2))
        for distance in range(1, shape[2]):
            either, both = _in_common(cells, kinds.ravel(), shape, distance)
            pairs = _pairs(music.cells, lengths, distance) & (either > 0)
            sums[:, distance - 1] = np.where(pairs, both / np.maximum(either, 1), 0).sum(axis=(1, 2))
            weights[:, distance - 1] = pairs.sum(axis=(1, 2))
        return sums, weights


def _bar_lengths(columns: ScoreColumns, most: int, grid: int) -> Int64Array:
    """Steps of each bar int64[N, most], 0 beyond an excerpt's last bar."""
    lengths = np.zeros((columns.num_pieces, most), np.int64)
    bars = np.diff(columns.bar_offsets)
    piece = np.repeat(np.arange(columns.num_pieces), bars)
    lengths[piece, np.arange(len(piece)) - columns.bar_offsets[piece]] = np.rint(columns.bar_length * grid)
    return lengths


def _pairs(cells: BoolArray, lengths: Int64Array, distance: int) -> BoolArray:
    """Pairs of a bar and the one ``distance`` before it, by the former's track and place: bool[N, T, B - distance].

    Both are bars of the excerpt, and at least one was generated."""
    there = (lengths[:, distance:] > 0) & (lengths[:, :-distance] > 0)
    return (cells[:, :, distance:] | cells[:, :, :-distance]) & there[:, None]


def _cell_numbers(notes: NoteRows, shape: tuple[int, ...]) -> Int64Array:
    """The number of each note's cell, counting through excerpts, tracks and bars: int64[n]."""
    return (notes.piece * shape[1] + notes.track) * shape[2] + notes.bar


def _in_common(
    cells: Int64Array, kinds: Int64Array, shape: tuple[int, ...], distance: int
) -> tuple[Int64Array, Int64Array]:
    """Kinds of note that are in either of two bars ``distance`` apart, and in both: int64[N, T, B - distance] each.

    ``cells`` and ``kinds`` int64[n]: each note's cell, and what makes notes equal."""
    size = int(kinds.max(initial=0)) + 1
    marks = np.unique(cells * size + kinds)
    of_cell = marks // size
    counts = np.bincount(of_cell, minlength=int(np.prod(shape))).reshape(shape)
    # A bar of the last places moves beyond its track, where no pair looks.
    later = of_cell % shape[2] + distance < shape[2]
    moved = marks[later] + distance * size
    found = moved[np.isin(moved, marks, assume_unique=True)]
    both = np.bincount(found // size, minlength=int(np.prod(shape))).reshape(shape)[:, :, distance:]
    either = counts[:, :, distance:] + counts[:, :, : shape[2] - distance] - both
    return either, both


def groove(options: Grid, context: MetricContext) -> _Groove:
    return _Groove(context.seed, options.grid)


def self_similarity(options: Grid, context: MetricContext) -> _SelfSimilarity:
    return _SelfSimilarity(context.seed, options.grid)
