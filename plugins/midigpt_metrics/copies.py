"""The share of the bars that are in the training corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from midigpt_core.score.bar_fingerprints import LEAST_NOTES, bar_fingerprints
from midigpt_metrics.estimates import per_excerpt, ratio, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.contracts import KnownBars, MetricContext
    from midigpt_core.records import BoolArray, Figure, Float64Array, GeneratedMusic, ScoreColumns
    from midigpt_core.score.note_rows import CellRows


@frozen
class _CopyRate:
    """The share of the generated bars of at least four notes that are in the training corpus, exactly or transposed.

    ``melodic`` and ``drums`` are the shares by kind of track; drum bars are never transposed.
    """

    seed: int
    known: KnownBars | None

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        if self.known is None:
            return {}
        generated, true = (_looked_up(self.known, columns, music) for columns in (music.generated, music.true))
        figures = {}
        for name, drum in (("", None), ("melodic", False), ("drums", True)):
            counted, expected = (_counts(*found, drum, len(music)) for found in (generated, true))
            figures[name] = ratio(
                self.seed, *counted, baseline=share(*expected), count=int(counted[1].sum()), is_share=True
            )
        return figures


def _looked_up(known: KnownBars, columns: ScoreColumns, music: GeneratedMusic) -> tuple[CellRows, BoolArray, BoolArray]:
    """The cells of an excerpt, which of them count, and which are copies."""
    cells, fingerprints = bar_fingerprints(columns)
    counts = music.cells[cells.piece, cells.track, cells.bar] & (cells.notes >= LEAST_NOTES)
    return cells, counts & known.looked_up(fingerprints), known.contains(fingerprints)


def _counts(
    cells: CellRows, counts: BoolArray, copied: BoolArray, drum: bool | None, excerpts: int
) -> tuple[Float64Array, Float64Array]:
    """Copied bars and all bars that count, by excerpt; ``drum``: only of drum tracks, or of the others."""
    chosen = counts if drum is None else counts & (cells.drum == drum)
    return per_excerpt(cells.piece, excerpts, chosen & copied), per_excerpt(cells.piece, excerpts, chosen)


def build(options: None, context: MetricContext) -> _CopyRate:
    return _CopyRate(context.seed, context.training_bars)
