"""Reads MIDI files from folders. Some hundreds of them, in the order of their names, form a shard.

The checksum of a file's name, not a number of files, determines where a shard ends: adding or removing a file leaves
the other shards, and their corpora, unchanged. A shard is identified by the bytes of its files, which are read and
hashed at each start in some 30 µs per file: in too many collections, all files have the same times and sizes.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from attrs import define, field, frozen

from midigpt_core.contracts import RowBatch, Source, SourceContext
from midigpt_core.errors import DataError, readable_name
from midigpt_core.files import FileState, open_regular
from midigpt_core.paths import find_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from midigpt_core.paths import FoundFile

SUFFIXES = frozenset({".mid", ".midi", ".kar"})

# On average, and at most: enough that a shard's own files do not count, few enough that several processors find work.
_SHARD_FILES = 512
_MOST_SHARD_FILES = 4096
_BATCH_FILES = 256
_BATCH_BYTES = 8 << 20
# Longer files are not music: the reader rejects them by their length and does not need all of them.
_MOST_BYTES = (16 << 20) + 1


def build(_options: None, context: SourceContext) -> Source:
    """The factory of the component ``midifiles``."""
    return MidiFiles(context.paths)


@frozen(eq=False)
class MidiFiles:
    """The MIDI files that ``paths`` lead to."""

    paths: Sequence[str]

    def shards(self) -> Sequence[MidiFilesShard]:
        shards: list[MidiFilesShard] = []
        files: list[FoundFile] = []
        for file in find_files(self.paths, SUFFIXES, kind="MIDI"):
            files.append(file)
            # Another hash would divide every folder into other shards, whose corpora would have to be built again.
            if zlib.crc32(file.name.encode()) % _SHARD_FILES == 0 or len(files) == _MOST_SHARD_FILES:
                shards.append(MidiFilesShard(tuple(files)))
                files = []
        return [*shards, MidiFilesShard(tuple(files))] if files else shards


@define(eq=False)
class MidiFilesShard:
    """Files that are read, kept and lost together."""

    files: tuple[FoundFile, ...]
    #: State of each file when it was hashed, and its sha256.
    _hashed: dict[FoundFile, tuple[FileState, bytes]] = field(init=False, factory=dict)

    @property
    def name(self) -> str:
        first = readable_name(self.files[0].path)
        return first if len(self.files) == 1 else f"{first} and {len(self.files) - 1:,} more"

    def num_rows(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        seen = hashlib.sha256()
        for file in self.files:
            # Names and contents are hashed separately, so that moving bytes from one to the next changes the result.
            seen.update(hashlib.sha256(file.name.encode()).digest())
            seen.update(self._hash(file))
        return seen.hexdigest()

    def batches(self) -> Iterator[RowBatch]:
        first = 0
        contents: list[bytes] = []
        size = 0
        for row, file in enumerate(self.files):
            content = _read(file.path)
            if file in self._hashed and hashlib.sha256(content).digest() != self._hashed[file][1]:
                raise DataError(
                    f"{readable_name(file.path)}: was changed while it was read. "
                    "Run again when nothing writes to it any more."
                )
            contents.append(content)
            size += len(content)
            if len(contents) == _BATCH_FILES or size >= _BATCH_BYTES or row + 1 == len(self.files):
                yield self._batch(first, contents)
                first, contents, size = row + 1, [], 0

    def _hash(self, file: FoundFile) -> bytes:
        """The sha256 of the file, which is not read again if it did not change."""
        with _explained(file.path):
            state = FileState.of(file.path)
        if file not in self._hashed or self._hashed[file][0] != state:
            self._hashed[file] = state, hashlib.sha256(_read(file.path)).digest()
            state.check(file.path)
        return self._hashed[file][1]

    def _batch(self, first: int, contents: list[bytes]) -> RowBatch:
        end = first + len(contents)
        return RowBatch(
            row=np.arange(first, end, dtype=np.int64),
            ids=pa.array([file.name for file in self.files[first:end]], pa.string()),
            midi=pa.array(contents, pa.large_binary()),
        )


def _read(path: Path) -> bytes:
    with _explained(path), open_regular(path) as stream:
        return stream.read(_MOST_BYTES)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{readable_name(path)}: cannot be read ({error.strerror}). "
            "Check the file and the disk, or move it elsewhere."
        ) from error
