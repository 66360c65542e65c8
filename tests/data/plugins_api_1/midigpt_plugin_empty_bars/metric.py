"""The share of the generated bars that have no note."""

import attrs
import numpy as np

from midigpt_core.records import Figure
from midigpt_core.score.note_rows import cell_rows


@attrs.frozen
class Options:
    #: Bars of at most so many notes count as empty.
    most_notes: int = attrs.field(default=0, validator=attrs.validators.ge(0))


@attrs.frozen
class EmptyBars:
    most_notes: int

    def measure(self, music):
        """Figures by name, of N excerpts at once: ``music.generated`` and ``music.true`` are columns of N pieces,
        ``music.cells`` bool[N, T, B] the bars that were generated.
        """
        bars = int(music.cells.sum())
        if not bars:
            return {}
        empty, true = (self._empty(columns, music) / bars for columns in (music.generated, music.true))
        return {"": Figure(value=empty, baseline=true, count=bars, is_share=True)}

    def _empty(self, columns, music):
        notes = np.zeros(music.cells.shape, int)
        cells = cell_rows(columns)
        notes[cells.piece, cells.track, cells.bar] = cells.notes
        return int(np.count_nonzero(music.cells & (notes <= self.most_notes)))


def build(options, context):
    return EmptyBars(options.most_notes)
