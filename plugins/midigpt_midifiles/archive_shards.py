"""Shards of the MIDI files in zip and tar archives: some hundred files each, in the order of their bytes."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING

from attrs import define, field

from midigpt_core.archives import Archive, Member, MemberError
from midigpt_core.errors import readable_name
from midigpt_midifiles.files import MOST_FILE_BYTES, MOST_SHARD_FILES, SHARD_FILES, SUFFIXES, Batches, explained

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from midigpt_core.archives import Problem
    from midigpt_core.contracts import RowBatch
    from midigpt_core.corpus.conditions import Condition
    from midigpt_core.paths import FoundFile


def archive_shards(
    file: FoundFile, hash_file: Callable[[Path], str], conditions: tuple[Condition, ...] = ()
) -> tuple[list[ArchiveShard], Counter[str]]:
    """The shards of an archive, and how many files in it are not MIDI, by suffix.

    Raises OSError if the file cannot be opened; what is wrong inside it becomes dropped rows.
    """
    archive = Archive(file.path, hash_file)
    listing = archive.listing(SUFFIXES)
    shards: list[ArchiveShard] = []
    first = 0
    for end, found in enumerate(listing.found, 1):
        is_last = zlib.crc32(found.name.encode()) % SHARD_FILES == 0 or end - first == MOST_SHARD_FILES
        if is_last or end == len(listing.found):
            shards.append(ArchiveShard(file, archive, listing.found[first:end], conditions))
            first = end
    return shards, listing.skipped


@define(eq=False)
class ArchiveShard:
    """Files of an archive that are read, kept and lost together."""

    file: FoundFile
    archive: Archive
    found: Sequence[Member | Problem]
    conditions: tuple[Condition, ...] = ()
    _was_read: bool = field(init=False, default=False)

    @property
    def name(self) -> str:
        path, first = readable_name(self.file.path), self.found[0].name
        return f"{path}/{first} and {len(self.found) - 1:,} more" if first and len(self.found) > 1 else path

    def num_rows(self) -> int:
        return len(self.found)

    def fingerprint(self) -> str:
        with explained(self.file.path):
            seen = hashlib.sha256(self.archive.content_hash(after_reading=self._was_read).encode())
        for found in self.found:
            # The same bytes under another name are other rows: names are stored in the corpus.
            seen.update(hashlib.sha256(self._row_name(found).encode()).digest())
        return seen.hexdigest()

    def batches(self) -> Iterator[RowBatch]:
        self._was_read = True
        batches = Batches(self.conditions)
        with explained(self.file.path), self.archive.opened():
            for row, found in enumerate(self.found):
                name = self._row_name(found)
                try:
                    if isinstance(found, Member):
                        batches.add(row, name, found.read(MOST_FILE_BYTES))
                    else:
                        batches.drop(row, name, found.reason)
                except MemberError as error:
                    self.archive.check_unchanged()
                    batches.drop(row, name, error.reason)
                if batches.is_full:
                    self.archive.check_unchanged()
                    yield batches.take()
            self.archive.check_unchanged()
            if not batches.is_empty:
                yield batches.take()

    def _row_name(self, found: Member | Problem) -> str:
        return f"{self.file.name}/{found.name}" if found.name else self.file.name
