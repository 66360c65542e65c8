"""Writes the corpus of one shard. Memory is bounded by one batch, whatever the size of the shard.

One record batch needs to know the length of every column before its first byte, so columns grow in unnamed temporary
files, which the kernel removes however this process ends, and are moved together at the end. Bytes are checksummed
as they arrive, while they are in the processor's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import tempfile
import zlib
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from midigpt_core import __version__, files
from midigpt_core.corpus.format import (
    BLOCK_BYTES,
    DATA_NAME,
    LEVELS,
    PIECE_COLUMNS,
    SIDECAR_NAME,
    TEXT_COLUMNS,
    Buffer,
    Sidecar,
    buffer_dtypes,
    level_columns,
    render_sidecar,
)
from midigpt_core.records import CORPUS_RESOLUTION
from midigpt_core.score.content_hash import CONTENT_HASH_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from midigpt_core.corpus.tally import Tally
    from midigpt_core.records import PieceTable, ScoreColumns

# Larger runs of values, the bulk of them, are written as they come.
_SPOOL_BUFFER = 128 << 10
_COPY_BUFFER = 1 << 20


class ShardWriter:
    """Collects batches of pieces, then commits them as ``folder``'s corpus. Use as a context."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spools: dict[str, _Spool] = {}

    def __enter__(self) -> Self:
        with files.explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for name in buffer_dtypes():
                self._spools[name] = _Spool(self._folder)
            for name in self._spools:
                if name.endswith("_offsets"):
                    self._spools[name].append(np.zeros(1, np.int64))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for spool in self._spools.values():
            spool.close()

    def add(self, columns: ScoreColumns, pieces: PieceTable) -> None:
        """Append pieces. Raises :class:`midigpt_core.files.WriteError` if the disk is full."""
        with files.explained(self._folder):
            for name, _, _ in PIECE_COLUMNS:
                self._spools[name].append(getattr(columns if name == "tempo" else pieces, name))
            for name in TEXT_COLUMNS:
                self._append_run(f"{name}_offsets", getattr(pieces, f"{name}_offsets"))
                self._spools[f"{name}_bytes"].append(getattr(pieces, f"{name}_bytes"))
            for level in LEVELS:
                self._append_run(f"{level}_offsets", getattr(columns, f"{level}_offsets"))
                for name in level_columns(level):
                    self._spools[name].append(getattr(columns, name))

    def _append_run(self, name: str, offsets: NDArray[np.int64]) -> None:
        spool = self._spools[name]
        spool.append(offsets[1:] + spool.total)
        spool.total += int(offsets[-1])

    def commit(self, *, source: str, fingerprint: str, tally: Tally) -> Sidecar:
        """Write the data, then the sidecar, each whole or not at all."""
        with files.atomic_path(self._folder / DATA_NAME) as temporary:
            with files.explained(self._folder):
                hashes = hashlib.sha256(self._spools["content_hash"].map())
                mapped = {name: spool.map() for name, spool in self._spools.items()}
            batch = _to_record_batch(mapped)
            spools = {buffer.address: self._spools[name] for name, buffer in mapped.items()}
            with temporary.open("xb") as stream, pa.ipc.new_file(_MovingFile(stream, spools), batch.schema) as writer:
                writer.write_batch(batch)
            with temporary.open("rb") as written, mmap.mmap(written.fileno(), 0, access=mmap.ACCESS_READ) as content:
                view = memoryview(content)
                buffers = _find_buffers(view)
                checksums = self._checksums(view, buffers)
                size = len(view)
                view.release()
        sidecar = Sidecar(
            source=source,
            fingerprint=fingerprint,
            resolution=CORPUS_RESOLUTION,
            identity=_identity(hashes, checksums),
            size=size,
            buffers=buffers,
            crc32=checksums,
            counts=dict(tally.counts),
            examples=tally.examples,
            totals=tally.totals(),
            core_version=__version__,
        )
        files.write_bytes(self._folder / SIDECAR_NAME, render_sidecar(sidecar))
        return sidecar

    def _checksums(self, file: memoryview, buffers: tuple[Buffer, ...]) -> tuple[int, ...]:
        """Of every block. The head, and what stands between the buffers, did not come through a spool."""
        dtypes = buffer_dtypes()
        checksums: list[int] = []
        for buffer in buffers:
            checksum = self._spools[buffer.name].checksum if buffer.name else _BlockChecksum()
            known = buffer.count * dtypes[buffer.name].itemsize if buffer.name else 0
            checksum.update(file[buffer.offset + known : buffer.offset + buffer.span])
            checksums += checksum.finish()
        return tuple(checksums)


class _BlockChecksum:
    """crc32 of each block of a growing run of bytes."""

    def __init__(self) -> None:
        self._finished: list[int] = []
        self._current = 0
        self._filled = 0

    def update(self, content: memoryview) -> None:
        while len(content):
            taken = content[: BLOCK_BYTES - self._filled]
            self._current = zlib.crc32(taken, self._current)
            self._filled += len(taken)
            content = content[len(taken) :]
            if self._filled == BLOCK_BYTES:
                self._end_block()

    def finish(self) -> list[int]:
        if self._filled:
            self._end_block()
        return self._finished

    def _end_block(self) -> None:
        self._finished.append(self._current)
        self._current = self._filled = 0


class _Spool:
    """One growing buffer in a file that has no name."""

    def __init__(self, folder: Path) -> None:
        # Closed by ShardWriter.__exit__.
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder, buffering=_SPOOL_BUFFER)  # noqa: SIM115
        self.checksum = _BlockChecksum()
        #: Where the next batch's runs start, for offsets.
        self.total = 0

    def append(self, values: NDArray[Any]) -> None:
        if values.size:
            content = np.ascontiguousarray(values).data.cast("B")
            self.checksum.update(content)
            self._file.write(content)

    def move_to(self, target: IO[bytes]) -> None:
        """Copy everything, then free its room on the disk."""
        content = memoryview(bytearray(_COPY_BUFFER))
        position = 0
        while count := os.preadv(self._file.fileno(), [content], position):
            target.write(content[:count])
            position += count
        os.ftruncate(self._file.fileno(), 0)

    def map(self) -> pa.Buffer:
        self._file.flush()
        if self._file.tell() == 0:
            return pa.py_buffer(b"")
        return pa.py_buffer(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        # Closing tries again to write what a full disk refused; that is on its way to the user already.
        with contextlib.suppress(OSError):
            self._file.close()


class _MovingFile:
    """A file for Arrow to write to. What Arrow knows as a mapped spool is moved from the spool's file instead: read
    through the map it costs twice as much, nearly all of it page faults."""

    closed = False

    def __init__(self, stream: IO[bytes], spools: Mapping[int, _Spool]) -> None:
        """``spools`` by the address that they are mapped at."""
        self._stream = stream
        self._spools = spools

    def write(self, content: pa.Buffer | bytes) -> None:
        spool = self._spools.get(content.address) if isinstance(content, pa.Buffer) else None
        if spool is None:
            self._stream.write(content)
        else:
            spool.move_to(self._stream)

    def tell(self) -> int:
        return self._stream.tell()

    def flush(self) -> None:
        self._stream.flush()


def _identity(content_hashes: hashlib._Hash, checksums: tuple[int, ...]) -> str:
    # The music is in the pieces' content hashes, everything else in the checksums: no need to read all of it again.
    content_hashes.update(np.array(checksums, "<u4").tobytes())
    return content_hashes.hexdigest()


def _to_record_batch(buffers: Mapping[str, pa.Buffer]) -> pa.RecordBatch:
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
    for level, plural in LEVELS.items():
        names = level_columns(level)
        fields = [pa.field(name.removeprefix(f"{level}_"), values(name).type, nullable=False) for name in names]
        items = pa.StructArray.from_arrays([values(name) for name in names], fields=fields)
        kind = pa.large_list(pa.field("item", items.type, nullable=False))
        runs = [None, buffers[f"{level}_offsets"]]
        arrays[plural] = pa.Array.from_buffers(kind, num_pieces, runs, children=[items])
    schema = pa.schema([pa.field(name, array.type, nullable=False) for name, array in arrays.items()])
    return pa.RecordBatch.from_arrays(list(arrays.values()), schema=schema)


def _find_buffers(file: memoryview) -> tuple[Buffer, ...]:
    """Where the buffers of an Arrow file with one record batch lie, in file order."""
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
        (name, buffer.address - whole.address, buffer.size // dtype.itemsize)
        for (name, dtype), buffer in zip(dtypes.items(), found, strict=True)
        if buffer is not None and buffer.size
    ]
    starts = [0, *(offset for _, offset, _ in sized)]
    spans = np.diff([*starts, len(file)])
    return tuple(
        Buffer(name, offset, count, int(span))
        for (name, offset, count), span in zip([("", 0, 0), *sized], spans, strict=True)
    )
