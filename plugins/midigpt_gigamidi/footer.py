"""Estimates the memory for decoding a parquet file's footer from the lists in it, before it is decoded.

The decoder allocates 700 bytes for each column and row group that a list announces. In the file, each takes a byte or,
if the list ends early, none at all.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import define

from midigpt_core.errors import DataError, readable_name
from midigpt_core.files import open_regular
from midigpt_gigamidi.compact import BINARY, BYTE, DOUBLE, FALSE, INTEGERS, LISTS, STRUCT, TRUE, Compact

if TYPE_CHECKING:
    from pathlib import Path
    from typing import NoReturn

#: Bytes of a footer: it is read whole.
MOST_FOOTER_BYTES = 16 << 20
#: Bytes that decoding it takes.
MOST_FOOTER_MEMORY = 256 << 20

_MAGIC = b"PAR1"
_END_BYTES = 8
# In the footer's structure (FileMetaData of parquet.thrift).
_SCHEMA = 2
# Of a column in the schema (SchemaElement): how many columns it holds.
_CHILDREN = 5
# Measured: a column of the schema, a row group or a row group's column, and an item of a list within that.
_COLUMN_BYTES, _CHUNK_BYTES, _ITEM_BYTES = 1500, 700, 100
_NAME_COPIES = 2


def check_footer(path: Path) -> None:
    """Raise :class:`DataError` if decoding the footer takes too much memory, OSError if the file is not a regular file.

    What is wrong otherwise, or no parquet file, is left to the decoder.
    """
    with open_regular(path) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _END_BYTES))
        end = stream.read(_END_BYTES)
        length = int.from_bytes(end[:4], "little")
        if end[4:] != _MAGIC or length > size - _END_BYTES:
            return
        if length > MOST_FOOTER_BYTES:
            _refuse(path, f"a footer of {length:,} bytes; the limit is {MOST_FOOTER_BYTES:,}")
        stream.seek(size - _END_BYTES - length)
        lists = _Lists(Compact(stream.read(length)))
    try:
        lists.read()
    except _TooMuchError:
        _refuse(
            path,
            f"a footer of {lists.columns:,} or more columns and {lists.chunks:,} or more row groups and parts of them"
            f" would take {lists.memory:,} bytes; the limit is {MOST_FOOTER_MEMORY:,}",
        )
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{readable_name(path)}: not a readable parquet file (its footer is damaged). "
            "Download or write the file again, or leave it out."
        ) from error


def _refuse(path: Path, what: str) -> NoReturn:
    raise DataError(f"{readable_name(path)}: {what}. Write the file with larger row groups, or split it.")


class _TooMuchError(Exception):
    """A footer's lists take more memory than allowed."""


@define
class _Lists:
    """Counts what the lists of a footer hold."""

    reader: Compact
    columns: int = 0
    #: Bytes of the names of columns that hold others: they are part of the names of those columns.
    names: int = 0
    #: Row groups and, in each, columns; entries of metadata as well.
    chunks: int = 0
    #: Items of the lists inside these.
    items: int = 0

    @property
    def memory(self) -> int:
        """Bytes that decoding takes at most."""
        column = _COLUMN_BYTES + _NAME_COPIES * self.names
        return self.columns * column + self.chunks * _CHUNK_BYTES + self.items * _ITEM_BYTES

    def read(self) -> None:
        """Count until the limit is exceeded. Raises IndexError or ValueError for a footer that cannot be read."""
        self._struct(0, 0, in_schema=False)

    def _struct(self, depth: int, lists: int, *, in_schema: bool) -> None:
        number = text = children = 0
        while head := self.reader.field(number, depth):
            number, kind = head
            if in_schema and kind == BINARY:
                text += self.reader.text()
            elif in_schema and number == _CHILDREN and kind in INTEGERS:
                children = self.reader.integer()
            elif kind not in (TRUE, FALSE):
                self._value(kind, depth, lists, in_schema=in_schema or (not depth and number == _SCHEMA))
        self.names += text if children else 0

    def _value(self, kind: int, depth: int, lists: int, *, in_schema: bool) -> None:
        """Skip a value inside ``depth`` structures and lists; ``lists`` of these are lists."""
        if kind in INTEGERS:
            self.reader.integer()
        elif kind == BINARY:
            self.reader.text()
        elif kind == STRUCT:
            self._struct(depth + 1, lists, in_schema=in_schema)
        elif kind in LISTS:
            self._list(depth, lists, in_schema=in_schema)
        elif kind == DOUBLE:
            self.reader.skip(8)
        elif kind in (TRUE, FALSE, BYTE):
            self.reader.byte()
        else:
            raise ValueError(f"a value of type {kind}")

    def _list(self, depth: int, lists: int, *, in_schema: bool) -> None:
        count, kind = self.reader.items(depth)
        if count > self.reader.left:
            raise IndexError(count)
        if in_schema and not lists:
            self.columns += count
        elif lists < 2:
            self.chunks += count
        else:
            self.items += count
        if self.memory > MOST_FOOTER_MEMORY:
            raise _TooMuchError
        for _ in range(count):
            self._value(kind, depth + 1, lists + 1, in_schema=in_schema)
