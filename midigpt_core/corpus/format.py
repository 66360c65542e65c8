"""The files of a corpus shard: which columns, in which order, and the sidecar with their checksums.

``pieces.arrow`` is an uncompressed Arrow IPC file with one record batch, one row per piece: scalars first, then one
list column with the tracks. Anything that reads Arrow reads it. Bars, cells and notes, nearly all of the bytes, are a
NumPy file for each column (``note_onset.npy``): such a file can grow while rows arrive, whereas Arrow requires the
length of a column before its first byte. ``pieces.json``, the *sidecar*, is written last: it marks the shard as
complete. It contains the position of each buffer, a checksum of every segment, the identity of the content, and the
report. Reading needs the sidecar and the mapped bytes, but no Arrow library.

A small shard is ``pieces.arrow`` alone, where bars, cells and notes are list columns like the tracks: a process may
have some 65,000 maps, and thousands of shards with a dozen files each would need more. The sidecar says which layout a
shard has.

Metadata that the source gave (:attr:`~midigpt_core.contracts.RowBatch.metadata`) is an Arrow IPC file of its own,
``metadata.arrow``, in the batches in which it arrived. A shard without metadata has no such file.

Segments are counted from the start of each buffer, so that checking the index of a shard reads nothing but the index.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import Factory, asdict, frozen

from midigpt_core.errors import CorpusError
from midigpt_core.score.columns import COLUMNS, level_columns
from midigpt_core.score.content_hash import CONTENT_HASH_BYTES

if TYPE_CHECKING:
    from pathlib import Path

#: Raise with every change of the layout.
FORMAT_VERSION = 3
#: Raise with every change of the MIDI reader's results.
READER_VERSION = 1

#: What every message about a damaged corpus ends with.
NEXT_ACTION = "Run `midigpt corpus clean`, then `midigpt preprocess` again."

DATA_NAME = "pieces.arrow"
METADATA_NAME = "metadata.arrow"
SIDECAR_NAME = "pieces.json"
# A piece is spread over a dozen buffers. Segments are small enough that reading a piece reads little else, and large
# enough that the checksums of a million pieces are read in milliseconds.
SEGMENT_BYTES = 256 << 10

#: Level of :class:`~midigpt_core.records.ScoreColumns` -> its list column in ``pieces.arrow``.
LISTS = {"track": "tracks"}
#: Levels whose columns, and offsets, have files of their own -> their list columns in a small shard's ``pieces.arrow``.
FILED = {"bar": "bars", "cell": "cells", "note": "notes"}
LEVELS = (*LISTS, *FILED)
#: Bytes of bars, cells and notes up to which a shard is small. Copying them together costs milliseconds.
SMALL_BYTES = 32 << 20
#: Bytes before the values of a NumPy file. Its header has room to write any length into it later.
NUMPY_HEADER_BYTES = 128

#: One value per piece, in file order: (name, dtype, values per piece).
PIECE_COLUMNS: tuple[tuple[str, np.dtype[Any], int], ...] = (
    ("row", np.dtype(np.int64), 1),
    ("status", np.dtype(np.uint8), 1),
    ("tempo", COLUMNS["tempo"].dtype, 1),
    ("content_hash", np.dtype(np.uint8), CONTENT_HASH_BYTES),
)
#: One UTF-8 text per piece.
TEXT_COLUMNS = ("id", "genre")


def arrow_dtypes() -> dict[str, np.dtype[Any]]:
    """Every buffer of ``pieces.arrow`` by name, in file order. ``<level>_offsets`` are int64[P + 1]."""
    dtypes: dict[str, np.dtype[Any]] = {name: dtype for name, dtype, _ in PIECE_COLUMNS}
    for name in TEXT_COLUMNS:
        dtypes |= {f"{name}_offsets": np.dtype(np.int64), f"{name}_bytes": np.dtype(np.uint8)}
    for level in LISTS:
        dtypes |= {f"{level}_offsets": np.dtype(np.int64), **level_columns(level)}
    return dtypes


def filed_dtypes() -> dict[str, np.dtype[Any]]:
    """Every column that has a file of its own. ``<level>_offsets`` are int64[P + 1]."""
    dtypes: dict[str, np.dtype[Any]] = {}
    for level in FILED:
        dtypes |= {f"{level}_offsets": np.dtype(np.int64), **level_columns(level)}
    return dtypes


def buffer_dtypes() -> dict[str, np.dtype[Any]]:
    """Every buffer of a shard by name."""
    return arrow_dtypes() | filed_dtypes()


def column_file(name: str) -> str:
    """The file of a column that has one of its own."""
    return f"{name}.npy"


def data_files() -> tuple[str, ...]:
    """Names of all files with music that a sidecar may describe; a small shard has only the first."""
    return (DATA_NAME, *map(column_file, filed_dtypes()))


@frozen
class Buffer:
    """The position of a buffer."""

    #: The column, or the file's name for the bytes before its first column.
    name: str
    file: str
    #: First byte in the file.
    offset: int
    #: Number of values.
    count: int
    #: Bytes up to the next buffer or the file's end; segments of these are checksummed.
    span: int


@frozen(kw_only=True)
class Totals:
    """The amount of music in a shard."""

    pieces: int = 0
    tracks: int = 0
    bars: int = 0
    notes: int = 0
    #: Melodic tracks by MIDI program, ``"0"`` to ``"127"``, and ``"drums"``.
    programs: dict[str, int] = Factory(dict)
    #: Bars by time signature, e.g. ``"4/4"``.
    signatures: dict[str, int] = Factory(dict)


@frozen(kw_only=True)
class Sidecar:
    """The description of a shard's data, with checksums; stored next to it."""

    #: The source file's name, for messages.
    source: str
    #: Fingerprint of the source shard.
    fingerprint: str
    resolution: int
    #: Identifies the content, hexadecimal: the sha256 of the pieces' content hashes and of the checksums of the layout
    #: with a file for each column, whichever layout the shard has.
    identity: str
    #: File by file in the order of :func:`data_files`, ascending within a file.
    buffers: tuple[Buffer, ...]
    #: XXH3 (64 bits) of every segment, buffer after buffer.
    checksums: tuple[int, ...]
    #: Rows of the source shard by reason; ``"kept"`` are those with music.
    counts: dict[str, int]
    #: A few rows for each reason but ``"kept"``.
    examples: dict[str, list[str]]
    totals: Totals
    #: Version of midigpt-core, for people.
    core_version: str

    @property
    def rows(self) -> int:
        return sum(self.counts.values())

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {buffer.file: buffer.offset + buffer.span for buffer in self.buffers}

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.sizes().values())


def render_sidecar(sidecar: Sidecar) -> bytes:
    """One line of JSON and one with the sha256 of the first."""
    content = {"format": "midigpt corpus", "version": FORMAT_VERSION, **asdict(sidecar)}
    body = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return body + b"\n" + _checksum_line(body)


def _checksum_line(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n"


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar. Raises :class:`CorpusError` unless it is complete, of this version, and matches the files'
    sizes."""
    folder = path.parent
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{folder}: no corpus here ({error.strerror}). {NEXT_ACTION}") from error
    sidecar = parse_sidecar(content, path)
    for name, size in sidecar.sizes().items():
        _check_size(folder / name, size)
    return sidecar


def parse_sidecar(content: bytes, path: Path | str) -> Sidecar:
    """The sidecar with this content; ``path`` is its place, for messages.

    Raises :class:`CorpusError` unless it is complete, of this version, and describes files of a corpus.
    """
    body, _, checksum = content.partition(b"\n")
    if checksum != _checksum_line(body):
        raise CorpusError(f"{path}: damaged. {NEXT_ACTION}")
    fields = json.loads(body)
    if fields.pop("version") != FORMAT_VERSION:
        raise CorpusError(f"{path}: written by another version of midigpt-core. {NEXT_ACTION}")
    del fields["format"]
    fields["buffers"] = tuple(Buffer(**buffer) for buffer in fields["buffers"])
    fields["checksums"] = tuple(fields["checksums"])
    fields["totals"] = Totals(**fields["totals"])
    sidecar = Sidecar(**fields)
    if unknown := sidecar.sizes().keys() - {*data_files(), METADATA_NAME}:
        raise CorpusError(f"{path}: describes {min(unknown)!r}, which is no file of a corpus. {NEXT_ACTION}")
    return sidecar


def _check_size(path: Path, size: int) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise CorpusError(f"{path}: {error.strerror}. {NEXT_ACTION}") from error
    if found != size:
        raise CorpusError(f"{path}: {found} bytes instead of {size}. {NEXT_ACTION}")
