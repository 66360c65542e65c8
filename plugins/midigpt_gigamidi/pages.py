"""Estimates the memory that the pages of a parquet column take from their headers, before any of them is decoded.

A kilobyte of parquet can hold gigabytes: a page of zeros compresses a thousandfold, each row of a dictionary-coded
column can name the same large value, and the items of a list can be one run. The footer says little about it and may be
wrong; the decoder relies on the headers of the pages. They are small, and reading them touches nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from attrs import frozen

from midigpt_core.errors import DataError
from midigpt_gigamidi.compact import Compact

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any

    import pyarrow.parquet as pq

#: Rows of a file. Rows without music take no space in it, but some hundred bytes each in the corpus.
MOST_ROWS = 16 << 20
#: Bytes of a page without its compression, which is decoded whole.
MOST_PAGE_BYTES = 256 << 20
#: Items of a list column in a row group: all of them can belong to one row.
MOST_ITEMS = 32 << 20
#: Bytes of values that a batch of rows may decode to; a single row can have a whole page.
BATCH_BYTES = 64 << 20

# A header is some 50 bytes, more with statistics; the decoder accepts no longer ones than the last.
_HEADER_READS = (1 << 10, 64 << 10, 16 << 20)

# Of the format's PageHeader and the headers that it holds (parquet.thrift).
_UNCOMPRESSED, _COMPRESSED, _DATA, _DICTIONARY, _DATA_V2 = 2, 3, 5, 7, 8
_NUM_VALUES = 1
_ENCODING, _ENCODING_V2 = 2, 4
_DICTIONARY_ENCODINGS = {2, 8}
# Encodings that store each value in the page once: plain, and lengths before bytes.
_FLAT_ENCODINGS = {0, 6}
# Looking at more of them takes longer than decoding fewer rows at a time.
_MOST_DICTIONARY_VALUES = 1 << 17
# Names in the format for which pyarrow has other names.
_CODECS = {"LZ4": "lz4_raw"}


@frozen
class _Page:
    #: Where its bytes start in the file, after its header.
    position: int
    is_dictionary: bool
    size: int
    compressed_size: int
    values: int
    encoding: int


def batch_rows(
    stream: IO[bytes], metadata: pq.FileMetaData, group: int, columns: set[int], *, most: int, name: str
) -> int:
    """How many rows of a row group, at most ``most``, may be decoded at a time to stay within :data:`BATCH_BYTES`.

    ``stream`` is the file and ``name`` what it is called; ``columns`` are the numbers of the leaf columns that will be
    read. Raises :class:`DataError` that names the row group and column if a page, or the items of a list, is beyond its
    limit, or a page has no readable header.
    """
    rows = most
    row_group = metadata.row_group(group)
    if row_group.num_columns != len(metadata.schema):
        raise DataError(
            f"{name}: row group {group} has {row_group.num_columns} columns, the file {len(metadata.schema)}. "
            "Download or write the file again, or leave it out."
        )
    for column in sorted(columns):
        chunk = row_group.column(column)
        where = f"{name}: row group {group}, column {chunk.path_in_schema!r}"
        has_bytes = chunk.physical_type == "BYTE_ARRAY"
        is_list = metadata.schema.column(column).max_repetition_level > 0
        dictionary = items = 0
        for page in _pages(stream, chunk, where):
            _require(page.size <= MOST_PAGE_BYTES, f"{where}: a page of {page.size:,} bytes", MOST_PAGE_BYTES)
            if page.is_dictionary:
                # Of a page that is small enough any row may have all.
                small = page.size * most <= BATCH_BYTES or not has_bytes
                dictionary = max(dictionary, page.size if small else _longest_value(stream, page, chunk.compression))
                continue
            items += page.values if is_list else 0
            _require(items <= MOST_ITEMS, f"{where}: lists with {items:,} or more items", MOST_ITEMS)
            if not has_bytes:
                continue
            if page.encoding in _FLAT_ENCODINGS:
                rows = min(rows, BATCH_BYTES * max(page.values, 1) // max(page.size, 1))
            else:
                value = dictionary if page.encoding in _DICTIONARY_ENCODINGS else page.size
                rows = min(rows, BATCH_BYTES // max(value, 1))
    return max(rows, 1)


def _require(holds: bool, what: str, limit: int) -> None:
    if not holds:
        raise DataError(f"{what}; the limit is {limit:,}. Write the file with smaller pages and row groups.")


def _pages(stream: IO[bytes], chunk: pq.ColumnChunkMetaData, where: str) -> Iterator[_Page]:
    """The pages of a column chunk by their headers, as far as the decoder reads."""
    position = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < position:
        position = chunk.dictionary_page_offset
    end = position + chunk.total_compressed_size
    values = 0
    while position < end and values < chunk.num_values:
        read = _read_header(stream, position)
        if read is None:
            raise DataError(
                f"{where}: cannot be read (no header of a page at byte {position}). "
                "Download or write the file again, or leave it out."
            )
        yield read
        values += 0 if read.is_dictionary else read.values
        position = read.position + read.compressed_size


def _longest_value(stream: IO[bytes], page: _Page, compression: str) -> int:
    """The bytes of the longest value of a dictionary, or of the whole page if values cannot be separated here."""
    if page.values > _MOST_DICTIONARY_VALUES:
        return page.size
    stream.seek(page.position)
    content = stream.read(page.compressed_size)
    if compression != "UNCOMPRESSED":
        try:
            codec = pa.Codec(_CODECS.get(compression, compression.lower()))
            content = codec.decompress(content, page.size, asbytes=True)
        except (pa.ArrowException, OSError, ValueError):
            return page.size
    longest = at = 0
    while at + 4 <= len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        longest = max(longest, length)
        at += 4 + length
    return min(longest, page.size)


def _read_header(stream: IO[bytes], position: int) -> _Page | None:
    """The page whose header starts at ``position``."""
    for most in _HEADER_READS:
        stream.seek(position)
        content = stream.read(most)
        try:
            reader = Compact(content)
            header = reader.struct()
            return _interpret(header, position + reader.at)
        except IndexError:
            # Longer, unless the file ends here.
            if len(content) < most:
                return None
        except (KeyError, TypeError, ValueError):
            return None
    return None


def _interpret(header: dict[int, Any], position: int) -> _Page:
    kinds = [kind for kind in (_DATA, _DICTIONARY, _DATA_V2) if kind in header]
    inner: dict[int, Any] = header[kinds[0]] if kinds else {}
    page = _Page(
        position=position,
        is_dictionary=bool(kinds) and kinds[0] == _DICTIONARY,
        size=header[_UNCOMPRESSED] + 0,
        compressed_size=header[_COMPRESSED] + 0,
        values=inner.get(_NUM_VALUES, 0) + 0,
        encoding=inner.get(_ENCODING_V2 if kinds == [_DATA_V2] else _ENCODING, 0) + 0,
    )
    if min(page.size, page.compressed_size, page.values) < 0:
        raise ValueError("no size is negative")
    return page
