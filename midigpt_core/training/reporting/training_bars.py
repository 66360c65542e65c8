"""The index of the bars that a run trains on, kept in the run's folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core import terminal
from midigpt_core.corpus.copy_index import NAME, build_copy_index, pieces_digest, read_copy_index
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import DataError
from midigpt_core.training.planning.host_memory import host_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from midigpt_core.corpus.copy_index import CopyIndex
    from midigpt_core.data.stream import StreamSpec

_log = terminal.logger("midigpt_core.training")


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
        """The index in the run's folder; None once ``go_on`` is False. It is built and written if there is none, if it
        cannot be read, or if it is of other pieces, as after a change of ``eval_share`` or ``deduplicate``.

        Raises :class:`midigpt_core.errors.DataError` without room for it in memory,
        :class:`midigpt_core.files.WriteError` without room on the disk.
        """
        path = self.folder / NAME
        if (index := self._kept(path)) is not None:
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

    def identity(self) -> list[Any]:
        """What the index depends on."""
        return [self.corpus, pieces_digest(self.training.pieces), self.sample]

    def _kept(self, path: Path) -> CopyIndex | None:
        if not path.is_file():
            return None
        try:
            index = read_copy_index(path)
        except DataError:
            _log.warning("%s cannot be read as a copy index. It is built again.", path)
            return None
        return index if [index.corpus, index.pieces, index.sample] == self.identity() else None
