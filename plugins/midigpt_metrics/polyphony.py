"""How many notes sound at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_metrics.estimates import per_excerpt, ratio, share
from midigpt_metrics.generated_notes import notes_within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.contracts import MetricContext
    from midigpt_core.records import Figure, Float64Array, GeneratedMusic, ScoreColumns
    from midigpt_metrics.options import Grid


@frozen
class _Polyphony:
    """The mean number of pitches of a melodic track that sound at once, over the steps at which any sounds.

    Of the notes that begin in generated bars, for their whole duration; a pitch that sounds twice counts once.
    """

    seed: int
    grid: int

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        pitches, steps = self._sounding(music.generated, music)
        figure = ratio(
            self.seed,
            pitches,
            steps,
            baseline=share(*self._sounding(music.true, music)),
            count=int(steps.sum()),
            counted="steps",
        )
        return {"": figure}

    def _sounding(self, columns: ScoreColumns, music: GeneratedMusic) -> tuple[Float64Array, Float64Array]:
        """Pitches that sound, summed over steps, and steps at which any sounds, by excerpt."""
        notes = notes_within(columns, music, melodic=True)
        onset, duration = notes.on_grid(columns.resolution, self.grid)
        begin = _bar_starts(columns, self.grid)[columns.bar_offsets[notes.piece] + notes.bar] + onset
        track = notes.piece * music.cells.shape[1] + notes.track
        steps = _covered(track, begin, begin + duration)
        pitches = _covered(track * 128 + notes.pitch, begin, begin + duration)
        count = len(music)
        of_excerpt = np.asarray(music.cells.shape[1])
        return (
            per_excerpt(pitches[0] // 128 // of_excerpt, count, pitches[1]),
            per_excerpt(steps[0] // of_excerpt, count, steps[1]),
        )


def _bar_starts(columns: ScoreColumns, grid: int) -> Float64Array:
    """The step at which each bar of each piece begins, int64[all bars]; pieces share no start."""
    lengths = np.rint(columns.bar_length * grid).astype(np.int64)
    ends = np.cumsum(lengths)
    first = np.concatenate([[0], ends])[columns.bar_offsets[:-1]]
    starts: Float64Array = ends - lengths - np.repeat(first, np.diff(columns.bar_offsets))
    return starts


def _covered(group: Float64Array, begin: Float64Array, end: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The groups that occur, and how many steps the intervals [begin, end) of each cover together."""
    order = np.lexsort((begin, group))
    group, begin, end = group[order], begin[order], end[order]
    groups, first = np.unique(group, return_index=True)
    # The furthest end so far within a group: groups are moved apart, so that one maximum serves all.
    apart = np.searchsorted(groups, group) * (int(end.max(initial=0)) + 1)
    reached = np.maximum.accumulate(end + apart) - apart
    before = np.concatenate([[0], reached[:-1]])
    before[first] = 0
    fresh = np.maximum(end - np.maximum(begin, before), 0)
    return groups, np.add.reduceat(fresh, first) if len(first) else fresh


def build(options: Grid, context: MetricContext) -> _Polyphony:
    return _Polyphony(context.seed, options.grid)
