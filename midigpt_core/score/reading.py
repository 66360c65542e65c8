"""Reads MIDI files into columns: a NumPy interface to the native reader."""

from __future__ import annotations

import errno
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from midigpt_core import _native, files
from midigpt_core.errors import DataError
from midigpt_core.paths import usable_path
from midigpt_core.records import CORPUS_RESOLUTION, ScoreColumns
from midigpt_core.score.columns import COLUMNS, OFFSETS

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from typing_extensions import Buffer

    from midigpt_core.records import Int64Array, UInt8Array


@frozen
class ReadErrorInfo:
    """Why a file was rejected."""

    code: int
    name: str
    #: One clause for messages, e.g. ``"an event crosses the end of its track"``.
    meaning: str


#: Every value of ``status`` but 0.
READ_ERRORS: Mapping[int, ReadErrorInfo] = MappingProxyType(
    {code: ReadErrorInfo(code, name, meaning) for code, name, meaning in _native.read_errors() if code}
)
_TOO_LARGE = next(code for code, info in READ_ERRORS.items() if info.name == "file_too_large")
#: Largest file, in bytes; the native reader rejects a longer one.
MOST_BYTES = 16 << 20
_RIFF, _RMID, _DATA = b"RIFF", b"RMID", b"data"


@frozen(eq=False)
class ReadResult:
    """n files, each one piece; a file that could not be read is a piece without tracks, bars and notes."""

    columns: ScoreColumns
    #: uint8[n], 0 or a key of :data:`READ_ERRORS`.
    status: UInt8Array
    #: int64[n], byte of the file at which reading stopped, -1 if no byte is at fault.
    error_offset: Int64Array


def read_batch(data: Buffer, offsets: Int64Array, threads: int = 1) -> ReadResult:
    """Read n MIDI files, ``data[offsets[i]:offsets[i + 1]]`` each (``offsets`` int64[n+1]).

    The result is the same for any number of threads; the GIL is released. Raises ValueError for offsets that decrease
    or are outside ``data``.
    """
    buffers = _native.read_batch(data, offsets, threads)
    return ReadResult(
        columns=columns_from_buffers(buffers),
        status=_array(buffers["status"], np.dtype(np.uint8)),
        error_offset=_array(buffers["error_offset"], np.dtype(np.int64)),
    )


def columns_from_buffers(buffers: Mapping[str, Buffer], resolution: int = CORPUS_RESOLUTION) -> ScoreColumns:
    """Columns over raw buffers by field name, as the native reader returns them; nothing is copied."""
    values: dict[str, Any] = {name: _array(buffers[name], spec.dtype) for name, spec in COLUMNS.items()}
    offsets: dict[str, Any] = {name: _array(buffers[name], np.dtype(np.int64)) for name in OFFSETS.values()}
    return ScoreColumns(resolution=resolution, **values, **offsets)


def file_content(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a MIDI file, without the container of an ``.rmi`` file.

    Raises DataError naming the file; one of more than 16 MiB is rejected without reading it.
    """
    try:
        return without_riff(files.read_bytes(usable_path(path, what="MIDI file"), MOST_BYTES))
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise _refused(str(path), _TOO_LARGE) from error
        reason = error.strerror or str(error)
        raise DataError(f"{path}: cannot be read ({reason}). Check the path and its permissions.") from error


def without_riff(content: bytes) -> bytes:
    """The MIDI file in a RIFF container (``.rmi``), as far as there is one; all other bytes as they are."""
    if content[:4] != _RIFF or content[8:12] != _RMID:
        return content
    at = 12
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "little")
        if content[at : at + 4] == _DATA:
            return content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return content


def _refused(where: str, status: int) -> DataError:
    meaning = READ_ERRORS[status].meaning
    return DataError(f"{where}: {meaning}. Use another file, or export this one again as a standard MIDI file.")


def _array(buffer: Buffer, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(memoryview(buffer), dtype)


def read_one(content: bytes, name: str) -> ScoreColumns:
    """One MIDI file. Raises DataError naming ``name``, the byte and what is wrong there."""
    result = read_batch(content, np.array([0, len(content)]))
    if not result.status[0]:
        return result.columns
    offset = int(result.error_offset[0])
    where = f"{name}, byte {offset}" if offset >= 0 else name
    raise _refused(where, int(result.status[0]))
