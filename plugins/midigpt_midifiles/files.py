"""What files and members of archives have in common: which are MIDI, how many form a shard, and batches of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from attrs import define, field

from midigpt_core.contracts import RowBatch
from midigpt_core.corpus.conditions import DROPPED
from midigpt_core.errors import DataError, readable_name
from midigpt_core.score.reading import without_riff
from midigpt_midifiles.options import kept

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midigpt_core.corpus.conditions import Condition

SUFFIXES = frozenset({".mid", ".midi", ".kar", ".rmi"})

#: The reason of a file that the system does not let be read.
UNREADABLE = "unreadable"

#: Files of a shard on average, and at most: enough that a shard's own files do not count, few enough that several
#: processors find work.
SHARD_FILES = 512
MOST_SHARD_FILES = 4096
#: Longer files are not music: the reader rejects them by their length and does not need all of them.
MOST_FILE_BYTES = (16 << 20) + 1
BATCH_FILES = 256
BATCH_BYTES = 8 << 20
# Dropped rows that a batch names for each reason.
_NAMED = 3


@define(eq=False)
class Batches:
    """Collects rows until there are enough of them for a batch. Rows for which a condition fails are dropped."""

    conditions: tuple[Condition, ...] = ()
    _rows: list[int] = field(init=False, factory=list)
    _names: list[str] = field(init=False, factory=list)
    _contents: list[bytes] = field(init=False, factory=list)
    _size: int = field(init=False, default=0)
    _dropped: dict[str, list[tuple[int, str]]] = field(init=False, factory=dict)
    _num_dropped: dict[str, int] = field(init=False, factory=dict)

    def add(self, row: int, name: str, content: bytes) -> None:
        if self.conditions and not kept(self.conditions, [name], [len(content)]).all():
            self.drop(row, name, DROPPED)
            return
        self._rows.append(row)
        self._names.append(name)
        self._contents.append(without_riff(content))
        self._size += len(content)

    def drop(self, row: int, name: str, reason: str) -> None:
        self._num_dropped[reason] = self._num_dropped.get(reason, 0) + 1
        named = self._dropped.setdefault(reason, [])
        if len(named) < _NAMED:
            named.append((row, name))

    @property
    def is_full(self) -> bool:
        return len(self._rows) + sum(self._num_dropped.values()) >= BATCH_FILES or self._size >= BATCH_BYTES

    @property
    def is_empty(self) -> bool:
        return not self._rows and not self._num_dropped

    def take(self) -> RowBatch:
        """The rows since the last batch."""
        batch = RowBatch(
            row=np.array(self._rows, np.int64),
            ids=pa.array(self._names, pa.string()),
            midi=pa.array(self._contents, pa.large_binary()),
            dropped=self._num_dropped,
            dropped_rows=self._dropped,
        )
        self._rows, self._names, self._contents, self._size = [], [], [], 0
        self._dropped, self._num_dropped = {}, {}
        return batch


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn system errors from reading ``path`` into :class:`DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{readable_name(path)}: cannot be read ({error.strerror}). "
            "Check the file and the disk, or move it elsewhere."
        ) from error
