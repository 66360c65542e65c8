"""Reads GigaMIDI's raw layout: archives of ``…/<md5>.mid``, and a CSV with a row of metadata for each md5.

The CSV has the columns of the parquet files, lists as the text that prints them. It is read once for each process, only
the columns that are needed. A file without a row in it is a piece without metadata.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections import Counter
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import define, field, frozen
from pyarrow import csv

from midigpt_core.archives import ARCHIVE_SUFFIXES, Archive, Member, MemberError
from midigpt_core.contracts import RowBatch
from midigpt_core.errors import DataError, readable_name
from midigpt_core.files import FileState, open_regular
from midigpt_core.paths import find_files, usable_path
from midigpt_gigamidi import hub
from midigpt_gigamidi.columns import ALWAYS, ID, NOMML, ROLES, find_roles, listed, require_columns
from midigpt_gigamidi.rows import Values, filter_roles, passing, require_filterable, with_music

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Protocol

    from midigpt_core.archives import Problem
    from midigpt_core.contracts import SourceContext
    from midigpt_core.records import Int64Array
    from midigpt_gigamidi.options import GigamidiOptions

    class Warnings(Protocol):
        """Warnings of a source, each said once."""

        def say(self, about: str, message: str) -> None: ...


_SUFFIXES = frozenset({".mid", ".midi"})
# Members of a shard on average, and at most; a checksum of their names says where a shard ends.
_SHARD_FILES, _MOST_SHARD_FILES = 512, 4096
_BATCH_FILES, _BATCH_BYTES = 256, 8 << 20
_MOST_MIDI_BYTES = (16 << 20) + 1
_MD5_LENGTH = 32
_BLOCK_BYTES = 8 << 20
_PARSING = csv.ParseOptions(newlines_in_values=True)
_READING = csv.ReadOptions(block_size=_BLOCK_BYTES, use_threads=False)
# Of Arrow's message about a row that does not end in a block.
_TOO_LONG = "straddles two block boundaries"
# Dropped rows that a batch names for each reason.
_NAMED = 3


@frozen(eq=False)
class Metadata:
    """The rows of a CSV by md5."""

    #: Columns by role, as text.
    columns: dict[str, pa.ChunkedArray]
    #: The md5 of each row, ascending, and the row: bytes[n], int64[n].
    keys: np.ndarray[tuple[int], np.dtype[np.bytes_]]
    rows: Int64Array
    #: The columns that ``source.columns`` names, as text.
    kept: dict[str, pa.ChunkedArray]

    def of(self, md5s: Sequence[str], lost: Callable[[str, int], None]) -> Values:
        """The values of some files; null for a file that has no row."""
        asked = _keys_of(md5s)
        places = np.minimum(np.searchsorted(self.keys, asked), max(len(self.keys) - 1, 0))
        known = self.keys[places] == asked if len(self.keys) else np.zeros(len(asked), np.bool_)
        indices = pa.array(self.rows[places] if len(self.keys) else np.zeros(len(asked), np.int64), mask=~known)
        columns, kept = (
            {name: column.take(indices).combine_chunks() for name, column in part.items()}
            for part in (self.columns, self.kept)
        )
        return Values(columns, len(md5s), lost, kept)


def read_metadata(path: Path, options: GigamidiOptions) -> Metadata:
    """The metadata in a CSV, as far as ``options`` need it. Raises :class:`DataError`."""
    try:
        roles = tuple(sorted({*ALWAYS, *options.styles, *filter_roles(options)}))
        return _read(path, FileState.of(path), roles, options.read_columns)
    except OSError as error:
        raise DataError(
            f"{readable_name(path)}: cannot be read ({error.strerror}). source.metadata names the CSV of GigaMIDI's "
            "raw layout."
        ) from error
    except pa.ArrowException as error:
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise DataError(
            f"{readable_name(path)}: is no readable CSV ({reason}). Correct it, or download it again."
        ) from error


# A shard that is sent to another process does not bring the metadata with it.
@lru_cache(maxsize=2)
def _read(path: Path, _state: FileState, roles: tuple[str, ...], kept: tuple[str, ...]) -> Metadata:
    with open_regular(path) as stream:
        header = csv.open_csv(stream, read_options=_READING, parse_options=_PARSING).schema.names
    names, _ = find_roles(pa.schema([(name, pa.string()) for name in header]), roles)
    if ID not in names:
        raise DataError(
            f"{readable_name(path)}: no column {ROLES[ID][0][0]!r} (columns: {listed(header)}). Name the CSV of "
            "GigaMIDI's raw layout in source.metadata."
        )
    require_columns(header, kept, readable_name(path))
    table = _texts(path, sorted({*names.values(), *kept}), header[-1])
    texts = pc.fill_null(pc.utf8_trim_whitespace(table.column(names[ID])), "")
    # Of two rows for a file, the first.
    keys, rows = np.unique(_keys_of(pc.utf8_lower(texts).to_pylist()), return_index=True)
    columns = {role: table.column(name) for role, name in names.items() if role != ID}
    return Metadata(columns, keys, rows, {name: table.column(name) for name in kept})


def _texts(path: Path, wanted: Sequence[str], last: str) -> pa.Table:
    """The columns ``wanted`` as text; ``last`` is the last one of the file."""
    read = sorted({*wanted, last})
    converting = csv.ConvertOptions(
        include_columns=read,
        column_types=dict.fromkeys(read, pa.string()),
        strings_can_be_null=True,
        null_values=[""],
    )
    batches: list[pa.RecordBatch] = []
    rows, end = 0, ""
    with open_regular(path) as stream:
        try:
            reader = csv.open_csv(stream, read_options=_READING, parse_options=_PARSING, convert_options=converting)
            for batch in reader:
                rows += batch.num_rows
                end = batch.column(last)[-1].as_py() or "" if batch.num_rows else end
                batches.append(batch.select(wanted))
        except pa.ArrowException as error:
            if _TOO_LONG not in str(error):
                raise
            raise DataError(
                f"{readable_name(path)}: row {rows + 1:,} is longer than {_BLOCK_BYTES >> 20} MB. A quotation mark in "
                "it is probably never closed. Correct that row, or download the file again."
            ) from error
    if _is_open(path, end):
        raise DataError(
            f"{readable_name(path)}: a quotation mark in row {rows:,} is never closed, so the rows after it cannot be "
            "read. Correct that row, or download the file again."
        )
    return pa.Table.from_batches(batches, pa.schema([(name, pa.string()) for name in wanted]))


def _is_open(path: Path, end: str) -> bool:
    """Whether a CSV ends within a quoted field. ``end`` is its last field, which is quoted if it has several lines."""
    if "\n" not in end and "\r" not in end:
        return False
    # The mark that closes a field stands alone, those within it are doubled. So a closed field never ends like an open
    # one, except one of newlines before as many newlines; the comma tells those apart.
    before = '"' if end.strip("\r\n") else ',"'
    written = (before + end.replace('"', '""')).encode()
    with open_regular(path) as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - len(written)))
        return stream.read() == written


def _keys_of(md5s: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.bytes_]]:
    """Texts as keys. UTF-8, for a name that is no md5 may have any letters and matches nothing but itself."""
    return np.array([md5.encode("utf-8", "surrogatepass")[:_MD5_LENGTH] for md5 in md5s], f"S{_MD5_LENGTH}")


def raw_shards(context: SourceContext, options: GigamidiOptions, warnings: Warnings) -> list[RawShard]:
    """Some hundred members of each archive that the paths lead to. Raises :class:`DataError`."""
    if on_hub := next((path for path in context.paths if path.startswith(hub.SCHEME)), None):
        raise DataError(
            f"{readable_name(on_hub)}: source.metadata is for archives on this machine. Download them and name "
            "the files; for the parquet files of the Hub, leave source.metadata out."
        )
    metadata = usable_path(str(options.metadata), what="source.metadata", error=DataError)
    present = read_metadata(metadata, options).columns
    require_filterable(options, present, readable_name(metadata))
    shards: list[RawShard] = []
    for file in find_files(context.paths, ARCHIVE_SUFFIXES, kind="archive"):
        archive = Archive(file.path, context.hash_file)
        try:
            found = archive.listing(_SUFFIXES).found
        except OSError as error:
            raise DataError(
                f"{readable_name(file.path)}: cannot be read ({error.strerror}). Check the file and the disk."
            ) from error
        first = 0
        for end, item in enumerate(found, 1):
            is_last = zlib.crc32(item.name.encode()) % _SHARD_FILES == 0 or end - first == _MOST_SHARD_FILES
            if is_last or end == len(found):
                name, members = readable_name(file.path), found[first:end]
                shards.append(RawShard(name, archive, members, metadata, context.hash_file, options, warnings))
                first = end
    return shards


@define(eq=False)
class RawShard:
    """Some members of an archive, with their metadata."""

    archive_name: str
    archive: Archive
    found: Sequence[Member | Problem]
    metadata: Path
    hash_file: Callable[[Path], str]
    options: GigamidiOptions
    warnings: Warnings
    _was_read: bool = field(init=False, default=False)

    @property
    def name(self) -> str:
        first = self.found[0].name
        more = f" and {len(self.found) - 1:,} more" if len(self.found) > 1 else ""
        return f"{self.archive_name}/{first}{more}" if first else self.archive_name

    def num_rows(self) -> int:
        return len(self.found)

    def fingerprint(self) -> str:
        seen = hashlib.sha256()
        try:
            seen.update(self.archive.content_hash(after_reading=self._was_read).encode())
            seen.update(self.hash_file(self.metadata).encode())
        except OSError as error:
            raise DataError(f"{self.archive_name}: cannot be read ({error.strerror}). Check the file.") from error
        for found in self.found:
            seen.update(hashlib.sha256(found.name.encode()).digest())
        return f"raw {seen.hexdigest()}"

    def batches(self) -> Iterator[RowBatch]:
        self._was_read = True
        metadata = read_metadata(self.metadata, self.options)
        try:
            with self.archive.opened():
                for first in range(0, len(self.found), _BATCH_FILES):
                    yield from self._batches(metadata, first, self.found[first : first + _BATCH_FILES])
        except OSError as error:
            raise DataError(f"{self.archive_name}: cannot be read ({error.strerror}). Check the file.") from error

    def _batches(self, metadata: Metadata, first: int, found: Sequence[Member | Problem]) -> Iterator[RowBatch]:
        members = [(first + index, item) for index, item in enumerate(found) if isinstance(item, Member)]
        md5s = [PurePosixPath(item.name).stem.lower() for _, item in members]
        values = metadata.of(md5s, self._lost)
        keep, without_music = with_music(values)
        keep, failed = passing(values, self.options, keep)
        batch = _Batch(Counter({**without_music, **failed}))
        for index, item in enumerate(found):
            if not isinstance(item, Member):
                batch.drop(first + index, item.name, item.reason)
        for index in np.flatnonzero(keep).tolist():
            row, item = members[index]
            try:
                batch.add(index, item.read(_MOST_MIDI_BYTES))
            except MemberError as error:
                self.archive.check_unchanged()
                batch.drop(row, item.name, error.reason)
            if batch.size >= _BATCH_BYTES:
                yield self._rows(values, members, md5s, batch)
                batch = _Batch(Counter())
        yield self._rows(values, members, md5s, batch)

    def _rows(
        self, values: Values, members: Sequence[tuple[int, Member]], md5s: Sequence[str], batch: _Batch
    ) -> RowBatch:
        self.archive.check_unchanged()
        chosen = pa.array(batch.indices, pa.int64())
        kept = values.take(chosen)
        has_styles = any(role in kept for role in self.options.styles)
        return RowBatch(
            row=np.array([members[index][0] for index in batch.indices], np.int64),
            ids=pa.array([md5s[index] for index in batch.indices], pa.string()),
            midi=pa.array(batch.contents, pa.large_binary()),
            genre=pa.array(kept.styles(self.options.styles), pa.string()) if has_styles else None,
            nomml=kept.integer_lists(NOMML) if NOMML in kept else None,
            metadata={name: kept.metadata[name] for name in self.options.columns} if len(chosen) else {},
            dropped=dict(batch.dropped),
            dropped_rows=batch.named,
            bars=(self.options.min_bars, self.options.max_bars),
        )

    def _lost(self, role: str, count: int) -> None:
        self.warnings.say(
            role,
            f"{readable_name(self.metadata)}: values of {role!r} are not {ROLES[role][1].name}, at first {count:,}; "
            "they are left out.",
        )


@define(eq=False)
class _Batch:
    """Members of a batch, by their place among its members, and what is left out."""

    dropped: Counter[str]
    named: dict[str, list[tuple[int, str]]] = field(factory=dict)
    indices: list[int] = field(factory=list)
    contents: list[bytes] = field(factory=list)
    size: int = 0

    def add(self, index: int, content: bytes) -> None:
        self.indices.append(index)
        self.contents.append(content)
        self.size += len(content)

    def drop(self, row: int, name: str, reason: str) -> None:
        self.dropped[reason] += 1
        named = self.named.setdefault(reason, [])
        if len(named) < _NAMED:
            named.append((row, name))
