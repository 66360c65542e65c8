"""The index of the bars that a run trains on, kept in the run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from midigpt_core.corpus.copy_index import NAME, build_copy_index, read_copy_index
from midigpt_core.corpus.store import open_corpus
from midigpt_core.training.planning.host_memory import host_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midigpt_core.corpus.copy_index import CopyIndex
    from midigpt_core.data.stream import StreamSpec


@frozen(eq=False, kw_only=True)
class TrainingBars:
    """Which bars a run trains on."""

    #: The pieces whose bars are indexed.
    training: StreamSpec
    #: The fingerprint of their corpus.
    corpus: str
    #: Share of the different bars that are indexed, above 0, at most 1.
    sample: float
    #: The run's folder.
    folder: Path

    def index(self, go_on: Callable[[], bool]) -> CopyIndex | None:
        """The index in the run's folder, which is built and written if it is not there; None once ``go_on`` is False.

        Raises :class:`midigpt_core.errors.DataError` without room for it in memory,
        :class:`midigpt_core.files.WriteError` without room on the disk.
        """
        path = self.folder / NAME
        if path.is_file():
            index = read_copy_index(path)
            if (index.corpus, index.sample) == (self.corpus, self.sample):
                return index
        built = build_copy_index(
            open_corpus(self.training.shards),
            self.training.pieces,
            most_bytes=host_memory() // 4,
            corpus=self.corpus,
            sample=self.sample,
            go_on=go_on,
        )
        if built is not None:
            built.save(path)
        return built
