"""Note density, and whether notes keep to the range of their track."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core.score.note_rows import note_rows
from midigpt_metrics.estimates import per_excerpt, ratio, share
from midigpt_metrics.generated_notes import bars_per_excerpt, notes_within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.contracts import MetricContext
    from midigpt_core.records import Figure, Float64Array, GeneratedMusic, ScoreColumns


@frozen
class _Density:
    """Notes per generated bar, silent bars included."""

    seed: int

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        bars = bars_per_excerpt(music)
        generated, true = (
            per_excerpt(notes_within(columns, music).piece, len(music)) for columns in (music.generated, music.true)
        )
        return {"": ratio(self.seed, generated, bars, baseline=share(true, bars), count=int(bars.sum()))}


@frozen
class _InRange:
    """The share of melodic notes between the lowest and the highest pitch of the track's other bars.

    Tracks without a note in other bars do not count.
    """

    seed: int

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        others = note_rows(music.true)
        others = others.where(~music.cells[others.piece, others.track, others.bar])
        lowest = np.full(music.cells.shape[:2], 128)
        highest = np.full(music.cells.shape[:2], -1)
        np.minimum.at(lowest, (others.piece, others.track), others.pitch)
        np.maximum.at(highest, (others.piece, others.track), others.pitch)

        def within(columns: ScoreColumns) -> tuple[Float64Array, Float64Array]:
            """Notes in range and all notes, by excerpt."""
            notes = notes_within(columns, music, melodic=True)
            notes = notes.where(highest[notes.piece, notes.track] >= 0)
            track = notes.piece, notes.track
            inside = (notes.pitch >= lowest[track]) & (notes.pitch <= highest[track])
            return per_excerpt(notes.piece, len(music), inside), per_excerpt(notes.piece, len(music))

        inside, notes = within(music.generated)
        figure = ratio(
            self.seed,
            inside,
            notes,
            baseline=share(*within(music.true)),
            count=int(notes.sum()),
            counted="notes",
            is_share=True,
        )
        return {"": figure}


def density(options: None, context: MetricContext) -> _Density:
    return _Density(context.seed)


def in_range(options: None, context: MetricContext) -> _InRange:
    return _InRange(context.seed)
