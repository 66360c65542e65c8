"""Writes the corpus of one shard. Memory is bounded by one batch, whatever the size of the shard.

Columns of bars, cells and notes are written to their final files, under temporary names until the shard is complete.
The rest, some hundred bytes per piece, becomes one record batch, which requires the length of every column before its
first byte. So these columns grow in unnamed temporary files, which the kernel removes however this process ends, and
are copied together at the end. Bytes are checksummed as they arrive, while they are in the processor's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import mmap
import tempfile
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xxhash

from midigpt_core import __version__, files
from midigpt_core.corpus.cache import explained
from midigpt_core.corpus.format import (
    DATA_NAME,
    FILED,
    LEVELS,
    LISTS,
    NUMPY_HEADER_BYTES,
    PIECE_COLUMNS,
    SEGMENT_BYTES,
    SIDECAR_NAME,
    SMALL_BYTES,
    TEXT_COLUMNS,
    Buffer,
    Sidecar,
    arrow_dtypes,
    buffer_dtypes,
    column_file,
    filed_dtypes,
    render_sidecar,
)
from midigpt_core.corpus.metadata.arrow import MetadataWriter
from midigpt_core.records import CORPUS_RESOLUTION
from midigpt_core.score.columns import level_columns
from midigpt_core.score.content_hash import CONTENT_HASH_BYTES
from midigpt_core.system.handles import fsync_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from midigpt_core.corpus.tally import Tally
    from midigpt_core.records import PieceTable, ScoreColumns

# Larger arrays, which are most of the data, are written directly.
_BUFFER_BYTES = 128 << 10
# A column is flushed to the disk whenever it has grown by this much, so that little is left for the end.
_FLUSH_BYTES = 8 << 20


class ShardWriter:
    """Collects batches of pieces, then commits them as ``folder``'s corpus. Use as a context."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spools: dict[str, _Spool] = {}
        self._files: dict[str, _NumpyFile] = {}
        self._metadata = MetadataWriter(folder)
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with explained(self._folder), contextlib.ExitStack() as opened:
            self._folder.mkdir(parents=True, exist_ok=True)
            opened.callback(self._remove_if_empty)
            pool = opened.enter_context(ThreadPoolExecutor(len(filed_dtypes()), thread_name_prefix="to-disk"))
            for name in arrow_dtypes():
                self._spools[name] = opened.enter_context(contextlib.closing(_Spool(self._folder)))
            for name, dtype in filed_dtypes().items():
                file = _NumpyFile(self._folder / column_file(name), dtype, pool)
                self._files[name] = opened.enter_context(contextlib.closing(file))
            opened.enter_context(self._metadata)
            for name in buffer_dtypes():
                if name.endswith("_offsets"):
                    self._column(name).append(np.zeros(1, np.int64))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _remove_if_empty(self) -> None:
        """Leave nothing behind if a shard fails, unless its folder had files before."""
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    def add(self, columns: ScoreColumns, pieces: PieceTable, metadata: Mapping[str, pa.Array] | None = None) -> None:
        """Append pieces and what :func:`midigpt_core.corpus.metadata.arrow.storable` gave of theirs. Raises
        :class:`midigpt_core.files.WriteError` if the disk is full."""
        with explained(self._folder):
            self._metadata.add(metadata or {})
            for name, _, _ in PIECE_COLUMNS:
                self._column(name).append(getattr(columns if name == "tempo" else pieces, name))
            for name in TEXT_COLUMNS:
                self._append_run(f"{name}_offsets", getattr(pieces, f"{name}_offsets"))
                self._column(f"{name}_bytes").append(getattr(pieces, f"{name}_bytes"))
            for level in LEVELS:
                self._append_run(f"{level}_offsets", getattr(columns, f"{level}_offsets"))
                for name in level_columns(level):
                    self._column(name).append(getattr(columns, name))

    def _column(self, name: str) -> _Column:
        return self._spools[name] if name in self._spools else self._files[name]

    def _append_run(self, name: str, offsets: NDArray[np.int64]) -> None:
        column = self._column(name)
        column.append(offsets[1:] + column.total)
        column.total += int(offsets[-1])

    def commit(self, *, source: str, fingerprint: str, tally: Tally) -> Sidecar:
        """Write the data, then the sidecar, each completely or not at all."""
        with explained(self._folder):
            small = sum(file.size for file in self._files.values()) <= SMALL_BYTES
            filed = {} if small else self._files
            for file in filed.values():
                file.finish()
            hashes = hashlib.sha256(self._spools["content_hash"].map())
            with contextlib.closing(files.StagedFile(self._folder / DATA_NAME, buffering=_BUFFER_BYTES)) as arrow:
                together = {**self._spools, **self._files} if small else self._spools
                buffers, checksums = _write_arrow(arrow.stream, together, {**LISTS, **FILED} if small else LISTS)
                arrow.bring_to_disk()
                apart = self._checksums_apart() if small else [*checksums]
                for name, file in filed.items():
                    more, sums = file.wait(name)
                    buffers += more
                    checksums += sums
                more, sums = self._metadata.finish()
                buffers += more
                checksums += sums
                identity = _identity(hashes, apart, self._files, sums)
                for staged in (arrow, *(file.staged for file in filed.values())):
                    staged.publish()
                self._metadata.publish()
            fsync_folder(self._folder)
        sidecar = Sidecar(
            source=source,
            fingerprint=fingerprint,
            resolution=CORPUS_RESOLUTION,
            identity=identity,
            buffers=tuple(buffers),
            checksums=tuple(checksums),
            counts=dict(tally.counts),
            examples=tally.examples,
            totals=tally.totals(),
            core_version=__version__,
        )
        files.write_bytes(self._folder / SIDECAR_NAME, render_sidecar(sidecar))
        return sidecar

    def _checksums_apart(self) -> list[int]:
        """The checksums that ``pieces.arrow`` would have if bars, cells and notes had files of their own."""
        with tempfile.TemporaryFile(dir=self._folder, buffering=_BUFFER_BYTES) as stream:
            return _write_arrow(stream, self._spools, LISTS)[1]


def _write_arrow(
    stream: IO[bytes], columns: Mapping[str, _Column], lists: Mapping[str, str]
) -> tuple[list[Buffer], list[int]]:
    """Write ``pieces.arrow``; returns the positions of its buffers and the checksums of all its segments."""
    batch = _to_record_batch({name: column.map() for name, column in columns.items()}, lists)
    with pa.ipc.new_file(stream, batch.schema) as writer:
        writer.write_batch(batch)
    stream.flush()
    with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        view = memoryview(content)
        buffers = _find_buffers(view, [name for name in buffer_dtypes() if name in columns])
        checksums = _checksums(view, buffers, columns)
        view.release()
    return buffers, checksums


def _checksums(file: memoryview, buffers: list[Buffer], columns: Mapping[str, _Column]) -> list[int]:
    """The checksums of all segments. The head, and the bytes between the buffers, do not belong to a column."""
    dtypes = buffer_dtypes()
    checksums: list[int] = []
    for buffer in buffers:
        column = columns.get(buffer.name)
        checksum = column.checksum.copy() if column is not None else _SegmentChecksum()
        known = buffer.count * dtypes[buffer.name].itemsize if column is not None else 0
        checksum.update(file[buffer.offset + known : buffer.offset + buffer.span])
        checksums += checksum.finish()
    return checksums


class _SegmentChecksum:
    """The checksum of each segment of a growing run of bytes."""

    def __init__(self) -> None:
        self._finished: list[int] = []
        self._current = xxhash.xxh3_64()
        self._filled = 0

    def copy(self) -> _SegmentChecksum:
        """A copy that continues independently."""
        copied = _SegmentChecksum()
        copied._finished, copied._current, copied._filled = [*self._finished], self._current.copy(), self._filled
        return copied

    def update(self, content: memoryview) -> None:
        while len(content):
            taken = content[: SEGMENT_BYTES - self._filled]
            self._current.update(taken)
            self._filled += len(taken)
            content = content[len(taken) :]
            if self._filled == SEGMENT_BYTES:
                self._end_segment()

    def finish(self) -> list[int]:
        if self._filled:
            self._end_segment()
        return self._finished

    def _end_segment(self) -> None:
        self._finished.append(self._current.intdigest())
        self._current.reset()
        self._filled = 0


class _Column:
    """Values one after another in a file, and their checksums."""

    #: Bytes in the file before the values.
    _head_bytes = 0

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.checksum = _SegmentChecksum()
        self.size = 0
        #: Where the next batch's runs start, for offsets.
        self.total = 0

    def append(self, values: NDArray[Any]) -> None:
        if values.size:
            content = np.ascontiguousarray(values).data.cast("B")
            self.checksum.update(content)
            self._stream.write(content)
            self.size += len(content)

    def map(self) -> pa.Buffer:
        """All values."""
        self._stream.flush()
        if self.size == 0:
            return pa.py_buffer(b"")
        content = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)
        return pa.py_buffer(memoryview(content)[self._head_bytes :])


class _Spool(_Column):
    """A column in an unnamed file, to be copied into another file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(tempfile.TemporaryFile(dir=folder, buffering=_BUFFER_BYTES))  # noqa: SIM115 - `close` does

    def close(self) -> None:
        # Closing retries a write that a full disk rejected; that error has already been raised.
        with contextlib.suppress(OSError):
            self._stream.close()


class _NumpyFile(_Column):
    """A column that becomes a NumPy file and is flushed to the disk while it grows."""

    _head_bytes = NUMPY_HEADER_BYTES

    def __init__(self, path: Path, dtype: np.dtype[Any], pool: ThreadPoolExecutor) -> None:
        self.staged = files.StagedFile(path, buffering=_BUFFER_BYTES)
        super().__init__(self.staged.stream)
        self._dtype = dtype
        self._pool = pool
        self._flushed = 0
        self._flushes: list[Future[None]] = []
        self._stream.write(bytes(NUMPY_HEADER_BYTES))

    def append(self, values: NDArray[Any]) -> None:
        super().append(values)
        # If the disk is slower than the rows, it gets more at a time.
        if self.size >= self._flushed + _FLUSH_BYTES and all(flush.done() for flush in self._flushes):
            self._wait()
            self._start_flush()

    def finish(self) -> None:
        """Write the header, and start to flush the rest to the disk."""
        header = self._header()
        self._stream.seek(0)
        self._stream.write(header)
        self._stream.flush()
        self._start_flush()

    def wait(self, name: str) -> tuple[list[Buffer], list[int]]:
        """Wait until the file is on the disk; returns its buffers and their checksums."""
        self._wait()
        buffers = [Buffer(self.staged.path.name, self.staged.path.name, 0, 0, NUMPY_HEADER_BYTES)]
        if self.size:
            count = self.size // self._dtype.itemsize
            buffers.append(Buffer(name, self.staged.path.name, NUMPY_HEADER_BYTES, count, self.size))
        return buffers, self.checksums()

    def checksums(self) -> list[int]:
        """The checksums of the file's segments, its header first."""
        head = _SegmentChecksum()
        head.update(memoryview(self._header()))
        return head.finish() + self.checksum.copy().finish()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._wait()
        self.staged.close()

    def _start_flush(self) -> None:
        self._flushed = self.size
        self._flushes.append(self._pool.submit(self.staged.bring_to_disk))

    def _wait(self) -> None:
        while self._flushes:
            self._flushes.pop().result()

    def _header(self) -> bytes:
        description = np.lib.format.dtype_to_descr(self._dtype)
        shape = (self.size // self._dtype.itemsize,)
        header = io.BytesIO()
        fields = {"descr": description, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, fields)
        if header.tell() != NUMPY_HEADER_BYTES:
            raise ValueError(f"NumPy wrote a header of {header.tell()} bytes instead of {NUMPY_HEADER_BYTES}")
        return header.getvalue()


def _identity(
    content_hashes: hashlib._Hash, checksums: list[int], columns: Mapping[str, _NumpyFile], metadata: list[int]
) -> str:
    """The identity of a shard, computed as if bars, cells and notes had files of their own: it is the same in both
    layouts.

    ``checksums`` are the checksums of ``pieces.arrow`` in that layout, ``metadata`` those of ``metadata.arrow``.
    """
    # The content hashes cover the music, the checksums everything else: the data need not be read again.
    content_hashes.update(np.array(checksums, "<u8").tobytes())
    for column in columns.values():
        content_hashes.update(np.array(column.checksums(), "<u8").tobytes())
    content_hashes.update(np.array(metadata, "<u8").tobytes())
    return content_hashes.hexdigest()


def _to_record_batch(buffers: Mapping[str, pa.Buffer], lists: Mapping[str, str]) -> pa.RecordBatch:
    dtypes = buffer_dtypes()

    def values(name: str) -> pa.Array:
        kind = pa.from_numpy_dtype(dtypes[name])
        return pa.Array.from_buffers(kind, buffers[name].size // dtypes[name].itemsize, [None, buffers[name]])

    num_pieces = buffers["status"].size
    arrays = {name: values(name) for name, _, width in PIECE_COLUMNS if width == 1}
    hashes = [None, buffers["content_hash"]]
    arrays["content_hash"] = pa.Array.from_buffers(pa.binary(CONTENT_HASH_BYTES), num_pieces, hashes)
    for name in TEXT_COLUMNS:
        text = [None, buffers[f"{name}_offsets"], buffers[f"{name}_bytes"]]
        arrays[name] = pa.Array.from_buffers(pa.large_string(), num_pieces, text)
    for level, plural in lists.items():
        names = level_columns(level)
        fields = [pa.field(name.removeprefix(f"{level}_"), values(name).type, nullable=False) for name in names]
        items = pa.StructArray.from_arrays([values(name) for name in names], fields=fields)
        kind = pa.large_list(pa.field("item", items.type, nullable=False))
        runs = [None, buffers[f"{level}_offsets"]]
        arrays[plural] = pa.Array.from_buffers(kind, num_pieces, runs, children=[items])
    schema = pa.schema([pa.field(name, array.type, nullable=False) for name, array in arrays.items()])
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema)


def _find_buffers(file: memoryview, names: list[str]) -> list[Buffer]:
    """The positions of the buffers of an Arrow file with one record batch, in file order, which is the order of
    ``names``."""
    whole = pa.py_buffer(file)
    batch = pa.ipc.open_file(whole).get_batch(0)
    # Arrow puts a validity buffer (here always absent) before each array's own buffers, and a list's before its items'.
    found: list[pa.Buffer | None] = []
    for array in batch.columns:
        buffers = array.buffers()
        is_list = pa.types.is_large_list(array.type)
        found += [buffers[1], *buffers[4::2]] if is_list else buffers[1:]
    dtypes = buffer_dtypes()
    sized = [
        (name, buffer.address - whole.address, buffer.size // dtypes[name].itemsize)
        for name, buffer in zip(names, found, strict=True)
        if buffer is not None and buffer.size
    ]
    starts = [0, *(offset for _, offset, _ in sized)]
    spans = np.diff([*starts, len(file)])
    return [
        Buffer(name, DATA_NAME, offset, count, int(span))
        for (name, offset, count), span in zip([(DATA_NAME, 0, 0), *sized], spans, strict=True)
    ]
