"""Histograms of pitch classes and of onset positions, compared excerpt by excerpt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_metrics.estimates import ratio, share
from midigpt_metrics.generated_notes import notes_within

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.contracts import MetricContext
    from midigpt_core.records import Figure, Float64Array, GeneratedMusic
    from midigpt_core.score.note_rows import NoteRows
    from midigpt_metrics.options import Grid


def histograms(notes: NoteRows, bins: object, count: int, size: int) -> Float64Array:
    """Shares of the notes of each excerpt by bin: float64[N, size]; zeros for an excerpt without notes."""
    counts = np.bincount(notes.piece * size + np.asarray(bins), minlength=count * size).reshape(count, size)
    shares: Float64Array = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def overlap(seed: int, generated: Float64Array, true: Float64Array) -> Figure:
    """The mean overlap (the sum of the smaller shares) of the histograms of an excerpt's generated and true bars.

    The baseline is that with the true bars of the other excerpts. Excerpts without notes in either do not count.
    """
    known = (generated.sum(axis=1) > 0) & (true.sum(axis=1) > 0)
    generated, true = generated[known], true[known]
    own = np.minimum(generated, true).sum(axis=1)
    count = len(own)
    others = sum(float(np.minimum(row, true).sum()) for row in generated) - float(own.sum())
    return ratio(
        seed,
        own,
        np.ones(count),
        baseline=others / (count * (count - 1)) if count > 1 else None,
        baseline_of="other pieces",
        count=count,
        counted="excerpts",
        is_share=True,
    )


@frozen
class _PitchClasses:
    """Overlap of the pitch classes of melodic notes; entropy of their histogram in bits."""

    seed: int

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        generated, true = (
            histograms(notes, notes.pitch % 12, len(music), 12)
            for notes in (
                notes_within(music.generated, music, melodic=True),
                notes_within(music.true, music, melodic=True),
            )
        )
        bits, known = _entropy(generated)
        figure = ratio(
            self.seed,
            bits,
            known,
            baseline=share(*_entropy(true)),
            count=int(known.sum()),
            counted="excerpts",
        )
        return {"": overlap(self.seed, generated, true), "entropy": figure}


def _entropy(shares: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Shannon entropy in bits by excerpt, and whether it has notes: both float64[N]."""
    bits = -(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0)).sum(axis=1)
    return bits, (shares.sum(axis=1) > 0).astype(np.float64)


@frozen
class _Onsets:
    """Overlap of the places in the bar at which notes begin, drums included."""

    seed: int
    grid: int

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        both = [notes_within(columns, music) for columns in (music.generated, music.true)]
        places = [notes.on_grid(music.true.resolution, self.grid)[0] for notes in both]
        # Bars can be very long, but few of their places are used.
        used, bins = np.unique(np.concatenate(places), return_inverse=True)
        parts = np.split(bins, [len(places[0])])
        generated, true = (
            histograms(notes, part, len(music), len(used)) for notes, part in zip(both, parts, strict=True)
        )
        return {"": overlap(self.seed, generated, true)}


def pitch_classes(options: None, context: MetricContext) -> _PitchClasses:
    return _PitchClasses(context.seed)


def onsets(options: Grid, context: MetricContext) -> _Onsets:
    return _Onsets(context.seed, options.grid)
