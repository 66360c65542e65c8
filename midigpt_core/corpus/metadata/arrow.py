"""Columns that a source gives besides the music: ``metadata.arrow`` of a shard, and their values of some pieces."""

from __future__ import annotations

import contextlib
import mmap
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import xxhash

from midigpt_core import files
from midigpt_core.corpus.format import METADATA_NAME, SEGMENT_BYTES, Buffer
from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Self

    from midigpt_core.contracts import RowBatch
    from midigpt_core.records import Corpus, Int64Array

_BUFFER_BYTES = 128 << 10


class MetadataWriter:
    """Writes the metadata of a shard's batches. Use as a context."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / METADATA_NAME
        self._open = contextlib.ExitStack()
        self._staged: files.StagedFile | None = None
        self._file: pa.ipc.RecordBatchFileWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, metadata: Mapping[str, pa.Array]) -> None:
        """Append the values of a batch, which :func:`storable` gave."""
        if not metadata:
            return
        batch = pa.RecordBatch.from_pydict(dict(metadata))
        if self._file is None:
            self._staged = self._open.enter_context(
                contextlib.closing(files.StagedFile(self._path, buffering=_BUFFER_BYTES))
            )
            self._file = pa.ipc.new_file(self._staged.stream, batch.schema)
        self._file.write_batch(batch)

    def finish(self) -> tuple[list[Buffer], list[int]]:
        """Write the rest and bring the file to the disk; returns its buffer and checksums, none without metadata."""
        if self._file is None or self._staged is None:
            return [], []
        self._file.close()
        stream = self._staged.stream
        stream.flush()
        self._staged.bring_to_disk()
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            size = len(content)
            checksums = [
                xxhash.xxh3_64_intdigest(content[start : start + SEGMENT_BYTES])
                for start in range(0, size, SEGMENT_BYTES)
            ]
        return [Buffer(METADATA_NAME, METADATA_NAME, 0, 0, size)], checksums

    def publish(self) -> None:
        """Give the finished file its name."""
        if self._staged is not None:
            self._staged.publish()


def storable(rows: RowBatch, known: Mapping[str, pa.DataType] | None) -> dict[str, pa.Array]:
    """The metadata of a batch as it is stored: dictionaries as their values.

    ``known``: names and types of the batches before; None: there was none with rows. Raises ValueError if a column has
    not a value per row, or if names or types are not those of ``known``.
    """
    if len(rows.row) == 0:
        return {}
    columns = {name: _plain(values) for name, values in rows.metadata.items()}
    for name, values in columns.items():
        if len(values) != len(rows.row):
            raise ValueError(f"metadata {name!r} has {len(values)} values for {len(rows.row)} rows")
    types = {name: values.type for name, values in columns.items()}
    if known is not None and types != known:
        before, now = _shown(known), _shown(types)
        raise ValueError(f"the metadata of a batch is {now}, and of the batches before {before}")
    return columns


def _plain(values: pa.Array) -> pa.Array:
    # An Arrow file has one dictionary per column, and every batch could bring its own.
    return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values


def _shown(types: Mapping[str, pa.DataType]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in types.items()) or "none"


def read_columns(content: memoryview) -> dict[str, pa.Array]:
    """The columns in the bytes of a ``metadata.arrow``."""
    table = pa.ipc.open_file(pa.py_buffer(content)).read_all()
    return {name: _whole(table.column(name)) for name in table.schema.names}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def piece_metadata(corpus: Corpus, name: str, pieces: Int64Array) -> pa.Array | None:
    """The values of the metadata column ``name`` of pieces int64[N]; null for a piece whose shard lacks the column;
    None if no piece has it. Raises :class:`midigpt_core.errors.CorpusError` if the file is damaged."""
    shards, local = corpus.locate(np.asarray(pieces, np.int64))
    parts, places = [], []
    for shard in np.unique(shards).tolist():
        column = corpus.shards[shard].metadata.get(name)
        if column is not None:
            places.append(np.flatnonzero(shards == shard))
            parts.append(column.take(pa.array(local[places[-1]])))
    if not parts:
        return None
    types = {str(part.type) for part in parts}
    if len(types) > 1:
        raise DataError(
            f"the metadata column {name!r} has several types: {', '.join(sorted(types))}. "
            "Write it with one type in all files of the data set."
        )
    order = np.full(len(pieces), -1, np.int64)
    order[np.concatenate(places)] = np.arange(sum(len(part) for part in parts))
    return pa.concat_arrays(parts).take(pa.array(order, mask=order < 0))
