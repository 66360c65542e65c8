"""Reads GigaMIDI's parquet shards row group by row group, only the columns that the corpus needs.

Columns (data set version 2.0.0; integer widths vary between releases, so kinds are checked, not widths):

=====================  ======================================  ====================================
``music``              binary, or struct ``{bytes, path}``     required: the MIDI file
``md5``                string                                  the row's name
``num_tracks``         integer                                 rows with 0 are left out unparsed
``total_notes``        integer                                 rows with 0 are left out unparsed
``NOMML``              list of integers, one per track         expressiveness levels
``music_style_scraped``  string, URL-encoded, comma-separated  style names
=====================  ======================================  ====================================
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from attrs import define, field, frozen

from midigpt_core.contracts import RowBatch, Source, SourceContext
from midigpt_core.errors import DataError, readable_name
from midigpt_core.files import FileState
from midigpt_core.paths import find_files
from midigpt_gigamidi.footer import check_footer
from midigpt_gigamidi.pages import MOST_ROWS, batch_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from typing import NoReturn

    from midigpt_core.records import BoolArray

MUSIC = "music"
ID = "md5"
NUM_TRACKS = "num_tracks"
TOTAL_NOTES = "total_notes"
NOMML = "NOMML"
STYLE = "music_style_scraped"

#: Reasons under which the report counts rows that the metadata says hold no music.
NO_TRACKS = "no_tracks"
NO_NOTES = "no_notes"
_REQUIRED_COUNTS = {NUM_TRACKS: NO_TRACKS, TOTAL_NOTES: NO_NOTES}

_NO_PARQUET = "Name the folder that holds the shards, or read a folder of MIDI files with --plugin midifiles."

# Some 5 MB of MIDI at GigaMIDI's mean of 19 kB a file.
_BATCH_ROWS = 256
_BATCH_BYTES = 8 << 20
# Longer values are not music: the reader rejects them by their length and does not need all of them.
_MOST_MIDI_BYTES = (16 << 20) + 1
# Limit of a name and of a row's styles.
_MOST_TEXT_BYTES = 4 << 10
# Column names that an error shows, and characters of each.
_SHOWN_NAMES, _SHOWN_CHARACTERS = 20, 80
# Read ahead per column; without it pyarrow loads a whole column of a row group, which can be the whole file.
_BUFFER_BYTES = 1 << 20


def build(_options: None, context: SourceContext) -> Source:
    """The factory of the component ``gigamidi``."""
    return GigamidiSource(context)


class GigamidiSource:
    """The parquet files that the paths of ``context`` lead to."""

    def __init__(self, context: SourceContext) -> None:
        self._context = context

    def shards(self) -> Sequence[GigamidiShard]:
        found = find_files(self._context.paths, {".parquet"}, kind="parquet", hint=_NO_PARQUET)
        return [GigamidiShard(file.path, self._context.hash_file) for file in found]


@define(eq=False)
class GigamidiShard:
    """One parquet file."""

    path: Path
    hash_file: Callable[[Path], str]
    #: State of the file when it was hashed.
    _state: FileState | None = field(init=False, default=None)

    @property
    def name(self) -> str:
        return readable_name(self.path)

    def num_rows(self) -> int:
        with self._open() as file:
            return int(file.metadata.num_rows)

    def fingerprint(self) -> str:
        try:
            state = FileState.of(self.path)
            content_hash = self.hash_file(self.path)
        except OSError as error:
            self._refuse(error)
        state.check(self.path)
        self._state = state
        return content_hash

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
            columns = _Columns.of(file.schema_arrow, self.name)
            leaves = _leaves(file.metadata.schema, columns)
            first_row = 0
            for group in range(file.num_row_groups):
                size = batch_rows(headers, file.metadata, group, leaves, most=_BATCH_ROWS, name=self.name)
                for table in self._row_group(file, group, columns, size):
                    yield _to_rows(table, columns, first_row)
                    first_row += table.num_rows

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

    def _row_group(
        self, file: pq.ParquetFile, group: int, columns: _Columns, batch_size: int
    ) -> Iterator[pa.RecordBatch]:
        batches = file.iter_batches(
            batch_size=batch_size, row_groups=[group], columns=columns.projection, use_threads=False
        )
        while True:
            try:
                batch = next(batches, None)
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{self.name}: row group {group} cannot be read ({_first_line(error)}). "
                    "Download or write the file again, or leave it out."
                ) from error
            if batch is None:
                return
            yield batch


@frozen
class _Columns:
    """Which of the known columns a file has."""

    music_is_struct: bool
    optional: frozenset[str]

    @property
    def projection(self) -> list[str]:
        music = f"{MUSIC}.bytes" if self.music_is_struct else MUSIC
        return [music, *sorted(self.optional)]

    @classmethod
    def of(cls, schema: pa.Schema, path: str) -> _Columns:
        """Raises :class:`DataError` if ``music`` is missing, or a column occurs twice or is of the wrong kind."""
        if MUSIC not in schema.names:
            raise DataError(
                f"{path}: no column {MUSIC!r} (columns: {_listed(schema.names)}). "
                f"Name GigaMIDI shards, or rename the column with the MIDI bytes to {MUSIC!r}."
            )
        _require_once([name for name in schema.names if name == MUSIC or name in _OPTIONAL], path, "")
        music = schema.field(MUSIC).type
        is_struct = pa.types.is_struct(music)
        if is_struct:
            _require_once([field.name for field in music], path, f"{MUSIC}.")
            inner = {field.name: field.type for field in music}
            _require_kind(_is_binary(inner.get("bytes", pa.null())), path, MUSIC, music, _MUSIC_KIND)
        else:
            _require_kind(_is_binary(music), path, MUSIC, music, _MUSIC_KIND)
        present = frozenset(name for name in _OPTIONAL if name in schema.names)
        for name in present:
            is_kind, kind = _OPTIONAL[name]
            kind_of_column = schema.field(name).type
            _require_kind(is_kind(kind_of_column), path, name, kind_of_column, kind)
        return cls(is_struct, present)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:_SHOWN_CHARACTERS] for name in names[:_SHOWN_NAMES])
    return f"{shown} and {len(names) - _SHOWN_NAMES:,} more" if len(names) > _SHOWN_NAMES else shown or "none"


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _is_integer(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_null(kind))


def _is_integer_list(kind: pa.DataType) -> bool:
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return bool(pa.types.is_null(kind) or (is_list and _is_integer(kind.value_type)))


_MUSIC_KIND = "binary or a struct with binary 'bytes'"
_OPTIONAL: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    ID: (_is_string, "string"),
    NUM_TRACKS: (_is_integer, "integer"),
    TOTAL_NOTES: (_is_integer, "integer"),
    NOMML: (_is_integer_list, "a list of integers"),
    STYLE: (_is_string, "string"),
}


def _require_once(names: Sequence[str], path: str, prefix: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        columns = ", ".join(repr(prefix + name) for name in twice)
        raise DataError(f"{path}: more than one column is called {columns}. Rename or remove all but one.")


def _leaves(schema: pq.ParquetSchema, columns: _Columns) -> set[int]:
    """The numbers of the columns below the projected ones."""
    paths = [schema.column(index).path for index in range(len(schema))]
    return {
        index
        for index, path in enumerate(paths)
        if any(path == name or path.startswith(f"{name}.") for name in columns.projection)
    }


def _require_kind(holds: bool, path: str, column: str, found: pa.DataType, wanted: str) -> None:
    if not holds:
        kind = str(found)[:_SHOWN_CHARACTERS]
        raise DataError(
            f"{path}: column {column!r} is {kind}, expected {wanted}. Write the column in that type, or leave it out."
        )


def _to_rows(table: pa.RecordBatch, columns: _Columns, first_row: int) -> RowBatch:
    keep, dropped = _with_music(table, columns)
    rows = np.arange(first_row, first_row + table.num_rows, dtype=np.int64)
    music = table.column(MUSIC)
    if columns.music_is_struct:
        # flatten() carries the struct's own nulls into the field, which field() does not.
        music = music.flatten()[0]
    music = _cut(_cast(music, pa.large_binary()), _MOST_MIDI_BYTES)
    if dropped:
        rows, music = rows[keep], _filter(music, keep)
        table = table.select(sorted(columns.optional)).filter(pa.array(keep))
    return RowBatch(
        row=rows,
        ids=pa.array(_texts(table.column(ID)), pa.string())
        if ID in columns.optional
        else pa.nulls(len(rows), pa.string()),
        midi=music,
        genre=_decode_styles(table.column(STYLE)) if STYLE in columns.optional else None,
        nomml=_cast(table.column(NOMML), pa.list_(pa.int64())) if NOMML in columns.optional else None,
        dropped=dropped,
    )


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

    return RowBatch(
        row=np.concatenate([batch.row for batch in batches]),
        ids=join("ids"),
        midi=join("midi"),
        genre=join("genre"),
        nomml=join("nomml"),
        dropped=dict(sum((Counter(batch.dropped) for batch in batches), Counter())),
    )


def _cut(values: pa.Array, most: int) -> pa.Array:
    """The first ``most`` bytes of each value."""
    longest = pc.max(pc.binary_length(values)).as_py() or 0
    return values if longest <= most else pc.binary_slice(values, 0, most)


def _with_music(table: pa.RecordBatch, columns: _Columns) -> tuple[BoolArray, dict[str, int]]:
    """Which rows contain music according to the metadata, and the number of others by reason."""
    keep = np.ones(table.num_rows, np.bool_)
    dropped: dict[str, int] = {}
    for column, reason in _REQUIRED_COUNTS.items():
        if column not in columns.optional:
            continue
        # An unknown count is no reason to leave a row out.
        is_positive = pc.fill_null(pc.greater(_cast(table.column(column), pa.float64()), 0.0), fill_value=True)
        still = keep & is_positive.to_numpy(zero_copy_only=False)
        if count := int(keep.sum() - still.sum()):
            dropped[reason] = count
        keep = still
    return keep, dropped


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


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """A cast that does not raise for a value out of range: one odd row must not make the shard unusable."""
    return pc.cast(array, options=pc.CastOptions.unsafe(kind))


def _texts(column: pa.Array) -> list[str | None]:
    """Python strings of at most :data:`_MOST_TEXT_BYTES`; parquet does not promise that they are valid UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    values = _cut(_cast(column, pa.large_binary()), _MOST_TEXT_BYTES).to_pylist()
    return [None if value is None else value.decode("utf-8", "replace") for value in values]


def _decode_styles(column: pa.Array) -> pa.Array:
    texts = _texts(column)
    # A batch has few styles, many times each.
    decoded = {text: text and _decode_style(text) for text in set(texts)}
    return pa.array([decoded[text] for text in texts], pa.string())


def _decode_style(text: str) -> str:
    """``"Rock%2Cdrum%20n%20bass%2C"`` -> ``"Rock,drum n bass"``."""
    return ",".join(style for part in unquote(text).split(",") if (style := part.strip()))


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0].rstrip(".")
