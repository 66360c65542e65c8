"""Reads MIDI files from folders and archives. Some hundreds of them, in the order of their names, form a shard.

The checksum of a file's name, not a number of files, determines where a shard ends: adding or removing a file leaves
the other shards, and their corpora, unchanged. A shard is identified by the bytes of its files, which are read and
hashed at each start in some 30 µs per file: in too many collections, all files have the same times and sizes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from midigpt_core import terminal
from midigpt_core.archives import ARCHIVE_SUFFIXES, is_archive
from midigpt_core.errors import DataError, readable_name
from midigpt_core.files import FileState, open_regular
from midigpt_core.paths import find_files
from midigpt_midifiles.archive_shards import archive_shards
from midigpt_midifiles.files import (
    MOST_FILE_BYTES,
    MOST_SHARD_FILES,
    SHARD_FILES,
    SUFFIXES,
    UNREADABLE,
    Batches,
    explained,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from midigpt_core.contracts import RowBatch, Source, SourceContext, SourceShard
    from midigpt_core.corpus.conditions import Condition
    from midigpt_core.paths import FoundFile
    from midigpt_midifiles.options import MidiFilesOptions

_log = terminal.logger(__name__)

_KINDS_NAMED = 8


def build(options: MidiFilesOptions | None, context: SourceContext) -> Source:
    """The factory of the component ``midifiles``."""
    return MidiFiles(context, () if options is None else options.conditions)


@frozen(eq=False)
class MidiFiles:
    """The MIDI files that the paths of ``context`` lead to, in folders and in archives."""

    context: SourceContext
    #: What a file must fulfil to be read.
    conditions: tuple[Condition, ...] = ()

    def shards(self) -> Sequence[SourceShard]:
        """Shards of files first, then those of each archive, then archives that cannot be opened, a row each."""
        shards: list[SourceShard] = []
        archives: list[FoundFile] = []
        files: list[FoundFile] = []
        skipped: Counter[str] = Counter()
        for file in find_files(
            self.context.paths, SUFFIXES | ARCHIVE_SUFFIXES, kind="MIDI", skipped=skipped, list_unsearchable=True
        ):
            if _is_archive(file):
                archives.append(file)
                continue
            files.append(file)
            # Another hash would divide every folder into other shards, whose corpora would have to be built again.
            if zlib.crc32(file.name.encode()) % SHARD_FILES == 0 or len(files) == MOST_SHARD_FILES:
                shards.append(MidiFilesShard(tuple(files), self.conditions))
                files = []
        if files:
            shards.append(MidiFilesShard(tuple(files), self.conditions))
        unreadable: list[FoundFile] = []
        for file in archives:
            try:
                found, others = archive_shards(file, self.context.hash_file, self.conditions)
            except OSError:
                unreadable.append(file)
                continue
            skipped += others
            shards += found
        if unreadable:
            shards.append(MidiFilesShard(tuple(unreadable), self.conditions))
        if skipped:
            commonest = sorted(skipped.items(), key=lambda kind: (-kind[1], kind[0]))[:_KINDS_NAMED]
            kinds = ", ".join(f"{count:,} {suffix or 'without a suffix'}" for suffix, count in commonest)
            total = skipped.total()
            counted = "1 file is not MIDI and is" if total == 1 else f"{total:,} files are not MIDI and are"
            _log.warning("%s left out: %s.", counted, kinds)
        return shards


def _is_archive(file: FoundFile) -> bool:
    if file.path.suffix.lower() in SUFFIXES:
        return False
    try:
        return is_archive(file.path)
    except OSError:  # a row without music, as any file that cannot be read
        return False


@define(eq=False)
class MidiFilesShard:
    """Files that are read, kept and lost together."""

    files: tuple[FoundFile, ...]
    conditions: tuple[Condition, ...] = ()
    #: State of each file when it was hashed, and its sha256. A file that could not be read has none.
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
            seen.update(self._hash(file) or UNREADABLE.encode())
        return seen.hexdigest()

    def batches(self) -> Iterator[RowBatch]:
        batches = Batches(self.conditions)
        for row, file in enumerate(self.files):
            try:
                content = _read(file.path)
            except OSError as error:
                if file in self._hashed:
                    with explained(file.path):
                        raise
                problem = "a folder that cannot be searched" if file.path.is_dir() else error.strerror
                batches.drop(row, f"{file.name}: {problem}", UNREADABLE)
            else:
                if file in self._hashed and hashlib.sha256(content).digest() != self._hashed[file][1]:
                    raise DataError(
                        f"{readable_name(file.path)}: was changed while it was read. "
                        "Run again when nothing writes to it any more."
                    )
                batches.add(row, file.name, content)
            if batches.is_full:
                yield batches.take()
        if not batches.is_empty:
            yield batches.take()

    def _hash(self, file: FoundFile) -> bytes | None:
        """The sha256 of the file, which is not read again if it did not change; None if it cannot be read."""
        try:
            state = FileState.of(file.path)
            if file not in self._hashed or self._hashed[file][0] != state:
                self._hashed[file] = state, hashlib.sha256(_read(file.path)).digest()
                state.check(file.path)
        except OSError:
            self._hashed.pop(file, None)
            return None
        return self._hashed[file][1]


def _read(path: Path) -> bytes:
    with open_regular(path) as stream:
        return stream.read(MOST_FILE_BYTES)
