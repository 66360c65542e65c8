"""Footers of parquet files that ask for much memory: refused before they are decoded, in one line."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midigpt_gigamidi.footer import MOST_FOOTER_MEMORY, check_footer
from midigpt_gigamidi.source import build

from midigpt_core.contracts import SourceContext
from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

INTEGER, LONG, TEXT, LIST, STRUCT = 5, 6, 8, 9, 12
BYTE_ARRAY, OPTIONAL = 6, 1
EMPTY = b"\0"


def number(value: int) -> bytes:
    """A whole number as Thrift's compact protocol has it."""
    content = b""
    while value > 127:
        content += bytes([value & 127 | 128])
        value >>= 7
    return content + bytes([value])


def integer(value: int) -> bytes:
    return number(value << 1)


def text(value: bytes) -> bytes:
    return number(len(value)) + value


def items(values: Sequence[bytes], claimed: int | None = None, kind: int = STRUCT) -> bytes:
    return bytes([15 << 4 | kind]) + number(len(values) if claimed is None else claimed) + b"".join(values)


def struct(*fields: tuple[int, int, bytes]) -> bytes:
    """Fields (number, type, content), each with its number written out: so they may have any order."""
    return b"".join(bytes([kind]) + integer(field) + content for field, kind, content in fields) + EMPTY


def column(name: bytes, *, children: int = 0) -> bytes:
    if children:
        # The number before the name: the format asks for no order.
        return struct((5, INTEGER, integer(children)), (4, TEXT, text(name)))
    return struct((1, INTEGER, integer(BYTE_ARRAY)), (3, INTEGER, integer(OPTIONAL)), (4, TEXT, text(name)))


def row_group(columns: bytes) -> bytes:
    return struct((1, LIST, columns), (2, LONG, integer(0)), (3, LONG, integer(0)))


def footer(schema: bytes, row_groups: bytes) -> bytes:
    return struct((1, INTEGER, integer(1)), (2, LIST, schema), (3, LONG, integer(0)), (4, LIST, row_groups))


SCHEMA = items([column(b"root", children=1), column(b"music")])
FOOTERS = {
    "columns": footer(items([column(b"root", children=400_000), *[column(b"")] * 400_000]), items([])),
    "columns of a row group": footer(SCHEMA, items([row_group(items([EMPTY] * 900_000))])),
    "row groups": footer(SCHEMA, items([row_group(items([]))] * 400_000)),
    "items of columns": footer(
        SCHEMA,
        items([row_group(items([struct((3, STRUCT, struct((8, LIST, items([EMPTY] * 900_000)))))] * 3))]),
    ),
    "long names around many columns": footer(
        items([column(b"root", children=1), column(b"x" * 100_000, children=2000), *[column(b"y")] * 2000]),
        items([]),
    ),
}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(b"PAR1" + content + len(content).to_bytes(4, "little") + b"PAR1")
    return path


def refusal(path: Path) -> str:
    (shard,) = build(None, SourceContext(paths=(str(path),))).shards()
    with pytest.raises(DataError) as caught:
        list(shard.batches())
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """An address space of 64 MiB more than is in use."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as sizes:  # noqa: PTH123
        most = int(sizes.read().split()[0]) * resource.getpagesize() + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


@pytest.mark.unsanitized
@pytest.mark.parametrize("kind", FOOTERS)
@pytest.mark.usefixtures("little_memory")
def test_a_footer_that_takes_too_much_memory_is_refused_before(kind: str, tmp_path: Path) -> None:
    said = refusal(write(tmp_path / "a.parquet", FOOTERS[kind]))
    assert said.endswith(f"the limit is {MOST_FOOTER_MEMORY:,}. Write the file with larger row groups, or split it.")


@pytest.mark.parametrize(
    "content",
    [
        footer(SCHEMA, items([], claimed=1_000_000)),
        footer(SCHEMA, items([]))[:-3],
        struct((9, STRUCT, b"\x1c" * 5000)),
        struct((9, LIST, b"\x19" * 5000)),
        struct((9, 14, b"")),
        b"",
    ],
    ids=["a list that ends early", "cut off", "deep structures", "deep lists", "unknown type", "empty"],
)
def test_a_damaged_footer_is_refused(content: bytes, tmp_path: Path) -> None:
    assert ": not a readable parquet file (its footer is damaged)." in refusal(write(tmp_path / "a.parquet", content))


def test_a_row_group_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", footer(SCHEMA, items([row_group(items([]))])))
    assert "row group 0 has 0 columns, the file 1" in refusal(path)


def test_of_very_many_columns_the_first_are_named(tmp_path: Path) -> None:
    names = [f"column {place} " + 200 * "x" for place in range(30)]
    pq.write_table(pa.table({name: [1] for name in names}), tmp_path / "a.parquet")
    said = refusal(tmp_path / "a.parquet")
    assert "no column 'music' (columns: column 0 xxx" in said
    assert "column 19" in said
    assert "column 20" not in said
    assert " and 10 more)." in said
    assert len(said) < 2000


def test_footers_that_pyarrow_writes_are_accepted(tmp_path: Path) -> None:
    kinds = [
        pa.int64(),
        pa.string(),
        pa.timestamp("us", "UTC"),
        pa.decimal128(9, 2),
        pa.list_(pa.struct([("a", "int8")])),
    ]
    schema = pa.schema({f"{place}": kind for place, kind in enumerate(kinds * 20)}, metadata={"k": "v" * 10_000})
    table = pa.table({field.name: pa.nulls(500, field.type) for field in schema}, schema=schema)
    for version in ("1.0", "2.4", "2.6"):
        pq.write_table(table, tmp_path / "a.parquet", row_group_size=5, version=version, write_page_index=True)
        check_footer(tmp_path / "a.parquet")


def test_a_pipe_is_no_parquet_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: .*regular file.*parquet file"):
        build(None, SourceContext(paths=(str(tmp_path / "a.parquet"),))).shards()
    with pytest.raises(OSError, match="is a named pipe"):
        check_footer(tmp_path / "a.parquet")
