"""Reads GigaMIDI's parquet shards row group by row group, only the columns that the corpus and the filters need.

:mod:`midigpt_gigamidi.columns` finds the columns. The filters decide by the metadata of a row group before its music
is read, which is skipped where no row passes.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import os
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import define, field

from midigpt_core import terminal
from midigpt_core.contracts import RowBatch, Source, SourceContext
from midigpt_core.errors import DataError, readable_name
from midigpt_core.files import FileState
from midigpt_core.paths import find_files
from midigpt_gigamidi import hub
from midigpt_gigamidi.columns import ALWAYS, ID, NOMML, NOTES, ROLES, TRACKS, find_columns, require_columns
from midigpt_gigamidi.footer import check_footer
from midigpt_gigamidi.kinds import to_binary
from midigpt_gigamidi.options import MUSIC, GigamidiOptions
from midigpt_gigamidi.pages import MOST_ROWS, batch_rows
from midigpt_gigamidi.raw import raw_shards
from midigpt_gigamidi.rows import Values, filter_roles, passing, require_filterable, with_music

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import IO, NoReturn

    from midigpt_core.contracts import SourceShard
    from midigpt_core.records import BoolArray
    from midigpt_gigamidi.columns import Columns

_NO_PARQUET = "Name the folder that holds the shards, or read a folder of MIDI files with --plugin midifiles."

# Some 5 MB of MIDI at GigaMIDI's mean of 19 kB a file.
_BATCH_ROWS = 256
_BATCH_BYTES = 8 << 20
# Longer values are not music: the reader rejects them by their length and does not need all of them.
_MOST_MIDI_BYTES = (16 << 20) + 1
# Rows whose metadata is read at a time for the filters.
_FILTERED_ROWS = 4096
# Read ahead per column; without it pyarrow loads a whole column of a row group, which can be the whole file.
_BUFFER_BYTES = 1 << 20


#: The columns that corpora were made from before other releases' were read.
_FIRST_COLUMNS = {NOMML: "NOMML", "scraped": "music_style_scraped"}

_log = terminal.logger(__name__)


def build(options: GigamidiOptions | None, context: SourceContext) -> Source:
    """The factory of the component ``gigamidi``."""
    return GigamidiSource(options or GigamidiOptions(), context)


class GigamidiSource:
    """The parquet files that the paths of ``context`` lead to."""

    def __init__(self, options: GigamidiOptions, context: SourceContext) -> None:
        self._options = options
        self._context = context
        self._warnings = Warnings()

    @property
    def row_options(self) -> dict[str, Any]:
        """See :attr:`midigpt_core.contracts.SourceWithOptions.row_options`."""
        return self._options.row_options()

    def shards(self) -> Sequence[SourceShard]:
        """The shards in the order of the paths, which are local or on the Hub (:mod:`midigpt_gigamidi.hub`); with
        ``metadata``, those of archives (:mod:`midigpt_gigamidi.raw`)."""
        if self._options.metadata:
            return raw_shards(self._context, self._options, self._warnings)
        shards: dict[object, SourceShard] = {}
        paths = self._context.paths
        for on_hub, group in itertools.groupby(paths, key=lambda path: path.startswith(hub.SCHEME)):
            find = self._on_hub if on_hub else self._local
            for key, shard in find(tuple(group)):
                shards.setdefault(key, shard)
        return [*shards.values()] or [shard for _, shard in self._local(paths)]

    def _local(self, paths: tuple[str, ...]) -> Iterator[tuple[object, SourceShard]]:
        for file in find_files(paths, {".parquet"}, kind="parquet", hint=_NO_PARQUET):
            yield os.path.realpath(file.path), self._shard(file.path, readable_name(file.path))

    def _on_hub(self, paths: tuple[str, ...]) -> Iterator[tuple[object, SourceShard]]:
        files = hub.HubFiles(self._options.keep_downloads)
        for path in paths:
            for file in hub.list_files(path):
                yield file, hub.HubShard(file, files, self._shard)

    def _shard(self, path: Path, name: str) -> GigamidiShard:
        return GigamidiShard(path, name, self._context, self._options, self._warnings)


@define(eq=False)
class Warnings:
    """Warnings of a source: each is logged once, whatever the number of shards."""

    _given: set[str] = field(init=False, factory=set)

    def say(self, about: str, message: str) -> None:
        # Two threads that race log it twice at worst.
        if about not in self._given:
            self._given.add(about)
            _log.warning("%s", message)


@define(eq=False)
class GigamidiShard:
    """One parquet file."""

    path: Path
    #: What messages and reports call it.
    name: str
    context: SourceContext
    options: GigamidiOptions
    warnings: Warnings
    #: State of the file when it was hashed.
    _state: FileState | None = field(init=False, default=None)

    def num_rows(self) -> int:
        with self._open() as file:
            return int(file.metadata.num_rows)

    def fingerprint(self) -> str:
        try:
            state = FileState.of(self.path)
            content_hash = self.context.hash_file(self.path)
            interpretation = self._interpretation()
        except OSError as error:
            self._refuse(error)
        state.check(self.path)
        self._state = state
        return content_hash + interpretation

    def _interpretation(self) -> str:
        """What distinguishes the file's rows from those that earlier versions made of the same bytes; else empty."""
        try:
            columns = find_columns(self._schema(), self.name, [NOMML, *self.options.styles])
        except DataError:
            return ""  # it is raised when the rows are read
        return "" if columns.names.items() <= _FIRST_COLUMNS.items() and not columns.odd else " by name"

    def _schema(self) -> pa.Schema:
        # The schema is remembered: a footer with many row groups takes a tenth of a second to check.
        text = self.context.remember(self.path, "schema", self._serialized_schema, _is_schema)
        return _parsed_schema(text)

    def _serialized_schema(self) -> str:
        return base64.b64encode(self._read_schema().serialize()).decode()

    def _read_schema(self) -> pa.Schema:
        with self._open() as file:
            return file.schema_arrow

    def batches(self) -> Iterator[RowBatch]:
        state = self._state
        if state is None:
            with self._open():
                state = FileState.of(self.path)
        rows = _joined(self._rows())
        while True:
            try:
                batch = next(rows, None)
            except (DataError, OSError) as error:
                # A file that is being overwritten looks damaged but is not.
                state.check(self.path)
                if isinstance(error, OSError):
                    self._refuse(error)
                raise
            state.check(self.path)
            if batch is None:
                return
            yield batch

    def _rows(self) -> Iterator[RowBatch]:
        with self._open() as file, self.path.open("rb") as headers:
            reader = _Reader(self, file, headers)
            first_row = 0
            for group in range(file.num_row_groups):
                for batch, rows in reader.row_group(group, first_row):
                    yield batch
                    first_row += rows

    def _refuse(self, error: OSError) -> NoReturn:
        raise DataError(f"{self.name}: cannot be read ({error.strerror}). Check the file and the disk.") from error

    @contextlib.contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        with contextlib.ExitStack() as opened:
            try:
                check_footer(self.path)
                # As bytes, because pyarrow rejects text that is not UTF-8.
                stream = opened.enter_context(pa.OSFile(os.fsencode(self.path)))
                file = opened.enter_context(
                    pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES, page_checksum_verification=True)
                )
            except PermissionError as error:
                reason = error.strerror or _first_line(error)
                raise DataError(f"{self.name}: cannot be read ({reason}). Check its permissions.") from error
            except (pa.ArrowException, OSError) as error:
                reason = getattr(error, "strerror", None) or _first_line(error)
                raise DataError(
                    f"{self.name}: not a readable parquet file ({reason}). "
                    "Download or write the file again, or leave it out."
                ) from error
            if file.metadata.num_rows > MOST_ROWS:
                raise DataError(
                    f"{self.name}: {file.metadata.num_rows:,} rows; the limit is {MOST_ROWS:,}. Split the file."
                )
            yield file


class _Reader:
    """Reads the rows of an open file."""

    def __init__(self, shard: GigamidiShard, file: pq.ParquetFile, headers: IO[bytes]) -> None:
        self._shard = shard
        self._file = file
        self._headers = headers
        self._options = shard.options
        self._filtered = filter_roles(shard.options)
        self._styles = shard.options.styles
        roles = dict.fromkeys([*ALWAYS, *self._styles, *sorted(self._filtered)])
        self._columns = find_columns(file.schema_arrow, shard.name, roles)
        if self._columns.odd:
            odd = ", ".join(self._columns.odd)
            self._notice(odd, f"columns of kinds that cannot be cast are left out: {odd}.")
        require_filterable(shard.options, self._columns.names, shard.name)
        require_columns(file.schema_arrow.names, shard.options.read_columns, shard.name)

    def row_group(self, group: int, first_row: int) -> Iterator[tuple[RowBatch, int]]:
        """Batches of a row group, each with the number of rows that it stands for."""
        keep, dropped = self._filter(group) if self._filtered or self._options.where else (None, {})
        if keep is not None and not keep.any():
            # The music is not read.
            yield self._to_rows(Values({}, 0, self._lost), None, None, first_row, dropped), len(keep)
            return
        roles = [ID, NOMML, *self._styles] if keep is not None else [*ALWAYS, *self._styles]
        done = 0
        for table in self._tables(group, roles, music=True):
            values, count = self._values(table, roles), table.num_rows
            if keep is None:
                kept, dropped = with_music(values)
            else:
                kept = keep[done : done + count]
            yield self._to_rows(values, _music(table, self._columns), kept, first_row + done, dropped), count
            done += count
            dropped = {}

    def _filter(self, group: int) -> tuple[BoolArray, dict[str, int]]:
        """Which rows of a group stay, by the metadata alone, and the number of others by reason."""
        roles = sorted({TRACKS, NOTES, *self._filtered})
        masks, counts = [np.zeros(0, np.bool_)], Counter[str]()
        for table in self._tables(group, roles, music=False):
            values = self._values(table, roles)
            keep, without_music = with_music(values)
            keep, failed = passing(values, self._options, keep)
            masks.append(keep)
            counts.update(without_music)
            counts.update(failed)
        return np.concatenate(masks), dict(counts)

    def _tables(self, group: int, roles: Sequence[str], *, music: bool) -> Iterator[pa.RecordBatch]:
        further = self._options.columns if music else [one.column for one in self._options.conditions]
        projection = [
            *([self._columns.music] if music else []),
            *dict.fromkeys([*self._columns.of(roles), *further]),
        ]
        leaves = _leaves(self._file.metadata.schema, projection)
        size = batch_rows(
            self._headers,
            self._file.metadata,
            group,
            leaves,
            most=_BATCH_ROWS if music else _FILTERED_ROWS,
            name=self._shard.name,
        )
        batches = self._file.iter_batches(batch_size=size, row_groups=[group], columns=projection, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{self._shard.name}: row group {group} cannot be read ({_first_line(error)}). "
                    "Download or write the file again, or leave it out."
                ) from error
            if batch is None:
                return
            yield batch

    def _values(self, table: pa.RecordBatch, roles: Sequence[str]) -> Values:
        names = self._columns.names
        columns = {role: table.column(names[role]) for role in roles if role in names}
        metadata = {name: table.column(name) for name in self._options.read_columns if name in table.schema.names}
        return Values(columns, table.num_rows, self._lost, metadata)

    def _to_rows(
        self, values: Values, music: pa.Array | None, kept: BoolArray | None, first_row: int, dropped: dict[str, int]
    ) -> RowBatch:
        """A batch of the kept rows; without ``music``, of none."""
        rows = np.arange(first_row, first_row + values.num_rows, dtype=np.int64)
        if music is None or kept is None:
            music = pa.array([], pa.large_binary())
        elif not kept.all():
            rows, music = rows[kept], _filter(music, kept)
            chosen = pa.array(kept)
            values = values.filter(chosen, len(rows))
        has_styles = any(role in self._columns.names for role in self._styles)
        return RowBatch(
            row=rows,
            ids=pa.array(values.texts(ID), pa.string()) if ID in values else pa.nulls(len(rows), pa.string()),
            midi=music,
            genre=pa.array(values.styles(self._styles), pa.string()) if has_styles else None,
            nomml=self._nomml(values),
            metadata={name: values.metadata[name] for name in self._options.columns if name in values.metadata},
            dropped=dropped,
            bars=(self._options.min_bars, self._options.max_bars),
        )

    def _nomml(self, values: Values) -> pa.Array | None:
        if NOMML not in self._columns.names:
            return None
        return values.integer_lists(NOMML) if NOMML in values else pa.array([], pa.list_(pa.int64()))

    def _lost(self, role: str, count: int) -> None:
        column, kind = self._columns.names[role], ROLES[role][1].name
        self._notice(
            column, f"column {column!r} has values that are not {kind}, at first {count:,}; they are left out."
        )

    def _notice(self, about: str, message: str) -> None:
        self._shard.warnings.say(about, f"{self._shard.name}: {message}")


def _music(table: pa.RecordBatch, columns: Columns) -> pa.Array:
    music = table.column(MUSIC)
    # flatten() carries the struct's own nulls into the field, which field() does not.
    return to_binary(music.flatten()[0] if columns.music_is_struct else music, _MOST_MIDI_BYTES)


def _parsed_schema(text: str) -> pa.Schema:
    """A schema from its remembered text. Raises ArrowException, OSError or ValueError."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def _is_schema(text: str) -> bool:
    try:
        _parsed_schema(text)
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def _leaves(schema: pq.ParquetSchema, projection: Sequence[str]) -> set[int]:
    """The numbers of the columns below the projected ones."""
    paths = [schema.column(index).path for index in range(len(schema))]
    return {
        index
        for index, path in enumerate(paths)
        if any(path == name or path.startswith(f"{name}.") for name in projection)
    }


def _joined(batches: Iterator[RowBatch]) -> Iterator[RowBatch]:
    """The same rows in larger batches: row groups may be small, and rows so large that few are decoded at a time."""
    held: list[RowBatch] = []
    rows = size = 0
    try:
        for batch in batches:
            count = len(batch.row) + sum(batch.dropped.values())
            if held and (rows + count > _BATCH_ROWS or size + batch.midi.nbytes > _BATCH_BYTES):
                yield _join(held)
                held, rows, size = [], 0, 0
            held.append(batch)
            rows += count
            size += batch.midi.nbytes
            del batch
            if rows >= _BATCH_ROWS or size >= _BATCH_BYTES:
                # Yield now: keeping it while more is decoded would take fresh memory for each batch.
                yield _join(held)
                held, rows, size = [], 0, 0
    except DataError:
        # Rows that were read before the damage are intact.
        if held:
            yield _join(held)
        raise
    if held:
        yield _join(held)


def _join(batches: Sequence[RowBatch]) -> RowBatch:
    if len(batches) == 1:
        return batches[0]

    def join(name: str) -> pa.Array | None:
        arrays = [getattr(batch, name) for batch in batches]
        return None if arrays[0] is None else pa.concat_arrays(arrays)

    # A batch without rows has no metadata.
    columns = [batch.metadata for batch in batches if len(batch.row)]
    metadata = {name: pa.concat_arrays([column[name] for column in columns]) for name in (columns or [{}])[0]}
    return RowBatch(
        row=np.concatenate([batch.row for batch in batches]),
        ids=join("ids"),
        midi=join("midi"),
        genre=join("genre"),
        nomml=join("nomml"),
        metadata=metadata,
        dropped=dict(sum((Counter(batch.dropped) for batch in batches), Counter())),
        bars=batches[0].bars,
    )


def _filter(music: pa.Array, keep: BoolArray) -> pa.Array:
    """``music.filter(keep)``, a run of rows at a time: music is most of a batch, and often only one row is dropped."""
    _, offsets, data = music.buffers()
    if music.null_count or data is None or not keep.any():
        return music.filter(pa.array(keep))
    ends = np.frombuffer(offsets, np.int64)[music.offset : music.offset + len(music) + 1]
    content = np.frombuffer(data, np.uint8)
    edges = np.flatnonzero(np.diff(keep, prepend=False, append=False))
    kept = pa.allocate_buffer(int(np.diff(ends)[keep].sum()))
    runs = [content[ends[first] : ends[last]] for first, last in edges.reshape(-1, 2)]
    np.concatenate(runs, out=np.frombuffer(kept, np.uint8))
    starts = np.concatenate([[0], np.cumsum(np.diff(ends)[keep])])
    return pa.Array.from_buffers(pa.large_binary(), len(starts) - 1, [None, pa.py_buffer(starts), kept])


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].rstrip(".")
