"""Opens corpora: maps their files and hands out columns over the mapped bytes, checked before they are used.

Opening a shard checks its sidecar, which takes as long for a million pieces as for a thousand. The entries of a piece
in the index (scalars and offsets) and its music are checked on first use. Unchecked bytes are never interpreted.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Mapping
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash
from attrs import define, evolve, field

from midigpt_core._native import MappedFile, mapped_losses
from midigpt_core.corpus import metadata
from midigpt_core.corpus.format import (
    LEVELS,
    METADATA_NAME,
    NEXT_ACTION,
    PIECE_COLUMNS,
    SEGMENT_BYTES,
    SIDECAR_NAME,
    TEXT_COLUMNS,
    Sidecar,
    buffer_dtypes,
    read_sidecar,
)
from midigpt_core.corpus.origins import origin
from midigpt_core.errors import CorpusError
from midigpt_core.records import Corpus, CorpusShard, PieceTable, ScoreColumns
from midigpt_core.score.columns import level_columns
from midigpt_core.score.content_hash import CONTENT_HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from midigpt_core.corpus.format import Buffer
    from midigpt_core.records import BoolArray, Int64Array

# A check takes some microseconds per file.
_SIZES_CHECKED_S = 1.0
_OFFSETS = tuple(name for name in buffer_dtypes() if name.endswith("_offsets"))
_INDEX = (*(name for name, _, _ in PIECE_COLUMNS), *_OFFSETS)


def open_corpus(shards: Sequence[Path], sources: Sequence[str] = ()) -> OpenCorpus:
    """Map the corpora whose data files (``BuildReport.shards``) are given.

    ``sources`` are the names of the shards for messages; without them, those that the corpora were built under.

    Raises :class:`CorpusError` naming the shard that is missing, damaged or of another version.
    """
    if not shards:
        raise CorpusError("no corpus to open. Run `midigpt preprocess` on some data first.")
    opened = tuple(ShardFile(path, source=source) for path, source in zip_longest(shards, sources))
    offsets = np.cumsum([0, *(file.shard.columns.num_pieces for file in opened)], dtype=np.int64)
    return OpenCorpus(Corpus([file.shard for file in opened], offsets), opened)


@define(eq=False)
class OpenCorpus:
    """Shards of a corpus, memory-mapped. Safe to use from several threads; open again in another process."""

    corpus: Corpus
    files: Sequence[ShardFile]
    _sizes_checked: float = field(init=False, factory=time.monotonic)

    @property
    def shard_paths(self) -> list[Path]:
        return [file.path for file in self.files]

    @property
    def fingerprint(self) -> str:
        """Identifies the content: sha256 over the identities of all shards, hexadecimal."""
        return hashlib.sha256("".join(file.sidecar.identity for file in self.files).encode()).hexdigest()

    def verify(self, pieces: Int64Array) -> None:
        """Check the bytes of ``pieces`` (int64, any order) that were not checked before.

        Call it before reading their music. Raises :class:`CorpusError` if the file was damaged since it was written.
        """
        for file, local in self._by_shard(np.asarray(pieces, np.int64)):
            file.verify_pieces(local)

    def check_unlost(self) -> None:
        """Raise :class:`CorpusError` if a file was truncated since it was mapped, or its disk failed.

        Data read since then is partly zeros: call it before results are used. Reading a lost page is detected at once.
        Zeros on the page in which a file now ends are detected by the file's size, which is checked every
        :data:`_SIZES_CHECKED_S` seconds.
        """
        now = time.monotonic()
        if mapped_losses() or now > self._sizes_checked + _SIZES_CHECKED_S:
            self._sizes_checked = now
            for file in self.files:
                file.check_unlost()

    def describe(self, piece: int) -> str:
        """``"train/00000.parquet, row 17 (d41d8c…)"``, for messages."""
        self.verify(np.array([piece]))
        return str(origin(self.corpus, piece))

    def _by_shard(self, pieces: Int64Array) -> Iterator[tuple[ShardFile, Int64Array]]:
        shards, local = self.corpus.locate(pieces)
        for shard in np.unique(shards).tolist():
            yield self.files[shard], local[shards == shard]


class ShardFile:
    """One mapped shard, named by its ``pieces.arrow``, and which of its bytes were checked.

    ``sidecar``: its sidecar, if that is not next to it yet; the files must have the sizes that it says. ``source``: the
    shard's name for messages; None: the one that its corpus was built under.
    """

    def __init__(self, path: Path, sidecar: Sidecar | None = None, source: str | None = None) -> None:
        self.path = path
        found = sidecar or read_sidecar(path.with_name(SIDECAR_NAME))
        self.sidecar: Sidecar = found if source is None else evolve(found, source=source)
        self._maps = {name: _map(path.with_name(name)) for name in self.sidecar.sizes()}
        self._inodes = {name: path.with_name(name).stat().st_ino for name in self._maps}
        self._bytes = {name: memoryview(mapped) for name, mapped in self._maps.items()}
        self._segments = _Segments(self._bytes, self.sidecar, path.parent)
        self.shard = self._interpret()
        self._index_checked = False
        self._checked: BoolArray = np.zeros(self.shard.columns.num_pieces, np.bool_)

    def verify_pieces(self, pieces: Int64Array) -> None:
        """Check the bytes of pieces, by their index in this shard."""
        # Flags only change from False to True, and only after the bytes were checked: threads that race check a segment
        # twice at worst.
        todo = pieces[~self._checked[pieces]]
        if len(todo) == 0:
            return
        if not self._index_checked:
            for name, _, width in PIECE_COLUMNS:
                self._segments.verify_values(name, todo * width, (todo + 1) * width)
            for name in _OFFSETS:
                self._segments.verify_values(name, todo, todo + 2)
            self._check_runs(todo)
        for names, offsets in self._runs():
            for name in names:
                self._segments.verify_values(name, offsets[todo], offsets[todo + 1])
        self._checked[todo] = True

    def check_unlost(self) -> None:
        """Like :meth:`OpenCorpus.check_unlost`, for this shard."""
        for name, mapped in self._maps.items():
            if mapped.lost or _is_shorter(self.path.with_name(name), self._inodes[name], len(self._bytes[name])):
                raise CorpusError(
                    f"{self.path.with_name(name)}: was cut off while it was in use, or cannot be read any more, "
                    f"corpus of {self.sidecar.source}. {NEXT_ACTION}"
                )

    def verify_index(self) -> None:
        """Check the scalars and offsets of all pieces, before a pass over all of them."""
        if not self._index_checked:
            self._segments.verify_buffers(_INDEX)
            self._check_runs(np.arange(self.shard.columns.num_pieces))
            self._index_checked = True

    def verify_columns(self, names: Iterable[str]) -> None:
        """Check whole columns, by field name of :class:`~midigpt_core.records.ScoreColumns`, and the index."""
        self.verify_index()
        self._segments.verify_buffers(names)

    def verify_all(self) -> None:
        """Check every byte."""
        self.verify_index()
        self._segments.verify_buffers(buffer.name for buffer in self.sidecar.buffers)

    def read_metadata(self) -> dict[str, Any]:
        """The columns of ``metadata.arrow``, checked, over the mapped bytes where one batch has all of them."""
        self._segments.verify_buffers([METADATA_NAME])
        columns: dict[str, Any] = metadata.read_columns(self._bytes[METADATA_NAME])
        for name, values in columns.items():
            if len(values) != self.shard.columns.num_pieces:
                raise CorpusError(
                    f"{self.path.with_name(METADATA_NAME)}: {name} has {len(values)} values instead of "
                    f"{self.shard.columns.num_pieces}. {NEXT_ACTION}"
                )
        return columns

    def _runs(self) -> Iterator[tuple[Iterable[str], Int64Array]]:
        """The columns of variable length with their offsets."""
        for name in TEXT_COLUMNS:
            yield [f"{name}_bytes"], getattr(self.shard.pieces, f"{name}_offsets")
        for level in LEVELS:
            yield level_columns(level), getattr(self.shard.columns, f"{level}_offsets")

    def _interpret(self) -> CorpusShard:
        where = {buffer.name: buffer for buffer in self.sidecar.buffers}
        dtypes = buffer_dtypes()

        def values(name: str) -> NDArray[Any]:
            buffer = where.get(name)
            if buffer is None:
                # An empty column has no buffer; Arrow omits even the one offset of an empty list column.
                return np.zeros(1 if name in _OFFSETS else 0, dtypes[name])
            return np.frombuffer(self._bytes[buffer.file], dtypes[name], buffer.count, buffer.offset)

        arrays = {name: values(name) for name in dtypes}
        self._check_lengths(arrays)
        table = PieceTable(
            **{name: arrays[name] for name in ("row", "status")},
            content_hash=arrays["content_hash"].reshape(-1, CONTENT_HASH_BYTES),
            **{f"{name}_{part}": arrays[f"{name}_{part}"] for name in TEXT_COLUMNS for part in ("offsets", "bytes")},
        )
        level_names = [name for level in LEVELS for name in (f"{level}_offsets", *level_columns(level))]
        columns = ScoreColumns(
            resolution=self.sidecar.resolution, tempo=arrays["tempo"], **{name: arrays[name] for name in level_names}
        )
        return CorpusShard(
            source=self.sidecar.source,
            columns=columns,
            pieces=table,
            metadata=_Metadata(self) if METADATA_NAME in self._bytes else {},
        )

    def _check_lengths(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Raise unless all columns of a level have the same length and there is one offset more than pieces."""
        num_pieces = len(arrays["status"])
        counts = {name: num_pieces * width for name, _, width in PIECE_COLUMNS}
        counts |= dict.fromkeys(_OFFSETS, num_pieces + 1)
        for level in LEVELS:
            names = list(level_columns(level))
            counts |= dict.fromkeys(names, len(arrays[names[0]]))
        for name, count in counts.items():
            if len(arrays[name]) != count:
                raise CorpusError(
                    f"{self.path}: {name} has {len(arrays[name])} values instead of {count}. {NEXT_ACTION}"
                )

    def _check_runs(self, pieces: Int64Array) -> None:
        """Raise unless offsets stay within their columns: native code does not check them."""
        for names, offsets in self._runs():
            name = next(iter(names))
            record = self.shard.pieces if name.endswith("_bytes") else self.shard.columns
            starts, ends = offsets[pieces], offsets[pieces + 1]
            if not ((starts >= 0) & (starts <= ends) & (ends <= len(getattr(record, name)))).all():
                run = name.removesuffix("_bytes").partition("_")[0]
                raise CorpusError(f"{self.path}: {run}_offsets do not fit their columns. {NEXT_ACTION}")


class _Metadata(Mapping[str, Any]):
    """The columns of a shard's ``metadata.arrow``, read on first use: nothing else needs pyarrow."""

    def __init__(self, file: ShardFile) -> None:
        self._file = file

    @cached_property
    def _columns(self) -> dict[str, Any]:
        return self._file.read_metadata()

    def __getitem__(self, name: str) -> Any:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


class _Segments:
    """The checksummed segments of mapped files and which of them were checked."""

    def __init__(self, content: Mapping[str, memoryview], sidecar: Sidecar, folder: Path) -> None:
        self._content = content
        self._folder = folder
        self._source = sidecar.source
        self._checksums = sidecar.checksums
        self._buffers = {buffer.name: buffer for buffer in sidecar.buffers}
        counts = [_num_segments(buffer) for buffer in sidecar.buffers]
        firsts = np.cumsum([0, *counts])
        self._first = dict(zip(self._buffers, firsts.tolist(), strict=False))
        self._itemsizes = {name: dtype.itemsize for name, dtype in buffer_dtypes().items()}
        if firsts[-1] != len(sidecar.checksums):
            raise CorpusError(f"{folder}: checksums do not cover the files. {NEXT_ACTION}")
        self._checked: BoolArray = np.zeros(len(sidecar.checksums), np.bool_)

    def verify_buffers(self, names: Iterable[str]) -> None:
        for name in names:
            if name in self._buffers:
                self._verify(name, np.arange(_num_segments(self._buffers[name])))

    def verify_values(self, name: str, starts: Int64Array, ends: Int64Array) -> None:
        """Check the segments that hold the values ``starts[i] .. ends[i]`` (exclusive) of a buffer."""
        if name not in self._buffers:
            return
        filled = ends > starts
        width = self._itemsizes[name]
        first = starts[filled] * width // SEGMENT_BYTES
        last = (ends[filled] * width - 1) // SEGMENT_BYTES
        steps = np.zeros(_num_segments(self._buffers[name]) + 1, np.int64)
        np.add.at(steps, first, 1)
        np.subtract.at(steps, last + 1, 1)
        self._verify(name, np.flatnonzero(np.cumsum(steps[:-1])))

    def _verify(self, name: str, segments: Int64Array) -> None:
        buffer, base = self._buffers[name], self._first[name]
        for segment in segments[~self._checked[base + segments]].tolist():
            start = buffer.offset + segment * SEGMENT_BYTES
            end = min(start + SEGMENT_BYTES, buffer.offset + buffer.span)
            if xxhash.xxh3_64_intdigest(self._content[buffer.file][start:end]) != self._checksums[base + segment]:
                raise CorpusError(
                    f"{self._folder / buffer.file}: damaged between bytes {start} and {end} ({name}), "
                    f"corpus of {self._source}. {NEXT_ACTION}"
                )
            self._checked[base + segment] = True


def _map(path: Path) -> MappedFile:
    try:
        with path.open("rb") as stream:
            return MappedFile(stream.fileno())
    except OSError as error:
        action = NEXT_ACTION
        if error.errno == errno.ENOMEM:
            action = (
                "The system limits a process's maps: join the source's files into fewer, or raise vm.max_map_count."
            )
        raise CorpusError(f"{path}: cannot be mapped into memory ({error.strerror}). {action}") from error


def _is_shorter(path: Path, inode: int, size: int) -> bool:
    """Whether the mapped file was truncated. A file that was removed or replaced stays mapped unchanged."""
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_ino == inode and status.st_size < size


def _num_segments(buffer: Buffer) -> int:
    return -(-buffer.span // SEGMENT_BYTES)
