"""Reads MIDI files from where they lie. Some hundreds of them, in the order of their names, are a shard.

A shard is known by the names, sizes and times of change of its files, not by their bytes: a start would otherwise read
every file, and a collection has a hundred thousand. A shard ends after a file whose name's checksum says so, not after
so many files: a file that is added or removed leaves the other shards, and their corpora, as they are.
"""

from __future__ import annotations

import glob
import hashlib
import itertools
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from attrs import frozen

from midigpt_core.contracts import RowBatch, Source, SourceContext
from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES = frozenset({".mid", ".midi", ".kar"})

# On average, and at most: enough that a shard's own files do not count, few enough that several processors find work.
_SHARD_FILES = 512
_MOST_SHARD_FILES = 4096
_BATCH_FILES = 256
_BATCH_BYTES = 8 << 20
# What is longer is no music: the reader refuses it by its length, for which it need not have all of it.
_MOST_BYTES = (16 << 20) + 1


def build(_options: None, context: SourceContext) -> Source:
    """The factory of the component ``midifiles``."""
    return MidiFiles(context.paths)


@frozen(eq=False)
class MidiFile:
    """One file."""

    path: Path
    #: Its name for people: below the folder that the user named.
    id: str


@frozen(eq=False)
class MidiFiles:
    """The MIDI files that ``paths`` lead to."""

    paths: Sequence[str]

    def shards(self) -> Sequence[MidiFilesShard]:
        shards: list[MidiFilesShard] = []
        files: list[MidiFile] = []
        for file in find_files(self.paths):
            files.append(file)
            if zlib.crc32(os.fsencode(file.id)) % _SHARD_FILES == 0 or len(files) == _MOST_SHARD_FILES:
                shards.append(MidiFilesShard(tuple(files)))
                files = []
        return [*shards, MidiFilesShard(tuple(files))] if files else shards


@frozen(eq=False)
class MidiFilesShard:
    """Files that are read, kept and lost together."""

    files: tuple[MidiFile, ...]

    @property
    def name(self) -> str:
        first = self.files[0].path
        return str(first) if len(self.files) == 1 else f"{first} and {len(self.files) - 1:,} more"

    def num_rows(self) -> int:
        return len(self.files)

    def fingerprint(self) -> str:
        seen = hashlib.sha256(b"midifiles 1\0")
        for file in self.files:
            try:
                status = file.path.stat()
            except OSError as error:
                raise _unreadable(file.path, error) from error
            seen.update(os.fsencode(file.id) + b"\0%d\0%d\0" % (status.st_size, status.st_mtime_ns))
        return seen.hexdigest()

    def batches(self) -> Iterator[RowBatch]:
        first = 0
        contents: list[bytes] = []
        size = 0
        for row, file in enumerate(self.files):
            content = _read(file.path)
            contents.append(content)
            size += len(content)
            if len(contents) == _BATCH_FILES or size >= _BATCH_BYTES or row + 1 == len(self.files):
                yield self._batch(first, contents)
                first, contents, size = row + 1, [], 0

    def _batch(self, first: int, contents: list[bytes]) -> RowBatch:
        end = first + len(contents)
        # A name that is no UTF-8 is still a name.
        ids = [os.fsencode(file.id).decode("utf-8", "replace") for file in self.files[first:end]]
        return RowBatch(
            row=np.arange(first, end, dtype=np.int64),
            ids=pa.array(ids, pa.string()),
            midi=pa.array(contents, pa.large_binary()),
        )


def find_files(paths: Sequence[str]) -> list[MidiFile]:
    """Every file once, in the order of ``paths``; what a folder (searched recursively) or glob gives is sorted.

    Raises :class:`DataError` if one of ``paths`` leads to no MIDI file.
    """
    if not paths:
        raise DataError("no data: name at least one MIDI file, folder or glob.")
    found: dict[Path, MidiFile] = {}
    for file in itertools.chain.from_iterable(map(_expand, paths)):
        found.setdefault(file.path.resolve(), file)
    return list(found.values())


def _expand(path: str) -> list[MidiFile]:
    # A file whose name holds glob characters is still that file, whatever its suffix.
    literal = Path(path).expanduser()
    if literal.is_file():
        return [MidiFile(literal, literal.name)]
    if literal.is_dir():
        files = sorted(file for file in literal.rglob("*") if _is_midi(file))
        if not files:
            raise DataError(f"{path}: no MIDI file ({_suffixes()}) in this folder or below. Check the path.")
        return [MidiFile(file, str(file.relative_to(literal))) for file in files]
    if glob.has_magic(path):
        # Path.glob takes no absolute pattern.
        matches = sorted(Path(match) for match in glob.glob(str(literal), recursive=True))  # noqa: PTH207
        files = [match for match in matches if _is_midi(match)]
        if not files:
            raise DataError(
                f"{path}: no MIDI file ({_suffixes()}) matches this pattern. Check the path, and quote it in the shell."
            )
        return [MidiFile(file, str(file)) for file in files]
    raise DataError(f"{path}: no such file or folder. Check the path.")


def _is_midi(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _suffixes() -> str:
    return ", ".join(sorted(SUFFIXES))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MOST_BYTES)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"{path}: cannot be read ({error.strerror}). Check the file and the disk, or move it elsewhere.")
