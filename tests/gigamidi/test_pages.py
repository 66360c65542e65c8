"""Small parquet files that hold much: each meets a limit before its memory is asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midigpt_gigamidi import pages
from midigpt_gigamidi.footer import MOST_FOOTER_BYTES
from midigpt_gigamidi.source import build

from midigpt_core.contracts import RowBatch, SourceContext
from midigpt_core.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

#: What reading may take beyond the interpreter and its libraries, where the limits (docs/limits.md) are an eighth of
#: what they are, so that the files are quickly made.
MOST_MIB = 96
# Prints the sizes of the rows' music and by how many MiB the process grew.
READ = """
import resource, sys
from pathlib import Path
from midigpt_core.contracts import SourceContext
from midigpt_core.errors import DataError
from midigpt_gigamidi import pages, source
pages.BATCH_BYTES //= 8
pages.MOST_PAGE_BYTES //= 8
source._MOST_MIDI_BYTES = (2 << 20) + 1
def peak():
    return int(next(l for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmHWM")).split()[1])
(shard,) = source.build(None, SourceContext(paths=(sys.argv[1],))).shards()
before = peak()
try:
    sizes = [len(midi or b"") for batch in shard.batches() for midi in batch.midi.to_pylist()]
    print(len(sizes), max(sizes, default=0))
except DataError as error:
    print(error)
print((peak() - before) // 1024)
"""


def read(path: Path) -> tuple[str, int]:
    """What a process that reads the file says, and the MiB that it took."""
    command = [sys.executable, "-c", READ, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    said, grown = done.stdout.strip().splitlines()
    return said, int(grown)


def batches(path: Path) -> list[RowBatch]:
    (shard,) = build(None, SourceContext(paths=(str(path),))).shards()
    return list(shard.batches())


def write(path: Path, music: list[bytes], **options: Any) -> Path:
    pq.write_table(pa.table({"music": pa.array(music, pa.binary())}), path, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {"use_dictionary": True},
        {"use_dictionary": True, "data_page_version": "2.0"},
        {"use_dictionary": False, "column_encoding": {"music": "DELTA_BYTE_ARRAY"}},
    ],
    ids=["dictionary", "version 2", "shared prefixes"],
)
def test_many_rows_of_one_large_value(tmp_path: Path, options: dict[str, Any]) -> None:
    """48 rows of 3 MiB, which together would take 144 MiB, in a few kB."""
    path = write(tmp_path / "a.parquet", [bytes(3 << 20)] * 48, compression="zstd", **options)
    assert path.stat().st_size < 20_000
    said, grown = read(path)
    # One byte more than the reader of MIDI files takes: it refuses them for their size.
    assert said == f"48 {(2 << 20) + 1}"
    assert grown < MOST_MIB


def test_a_page_beyond_the_limit_is_named(tmp_path: Path) -> None:
    music = [bytes(5 << 20)] * 24
    path = write(tmp_path / "a.parquet", music, compression="zstd", use_dictionary=False, write_batch_size=1024)
    said, grown = read(path)
    assert "row group 0, column 'music': a page of " in said
    assert said.endswith("the limit is 33,554,432. Write the file with smaller pages and row groups.")
    assert grown < MOST_MIB


def test_large_values_of_any_column_and_names_are_cut(tmp_path: Path) -> None:
    text = "x" * (3 << 20)
    columns = {
        "music": [b"m"] * 40,
        "md5": [text] * 40,
        "music_style_scraped": pa.array([text] * 40).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 50_000
    said, grown = read(tmp_path / "a.parquet")
    assert said == "40 1"
    assert grown < MOST_MIB
    (batch,) = batches(tmp_path / "a.parquet")
    assert batch.ids[0].as_py() == "x" * 4096


def test_a_list_of_very_many_items_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = pa.ListArray.from_arrays(pa.array([0, 1, 50_001], pa.int32()), pa.array(np.zeros(50_001, np.int8)))
    pq.write_table(pa.table({"music": [b"a", b"b"], "NOMML": levels}), tmp_path / "a.parquet")
    assert sum(len(batch.row) for batch in batches(tmp_path / "a.parquet")) == 2
    monkeypatch.setattr(pages, "MOST_ITEMS", 50_000)
    with pytest.raises(DataError, match=r"row group 0, column 'NOMML\.list\.element'.* 50,001"):
        batches(tmp_path / "a.parquet")


def test_very_many_rows_are_refused(tmp_path: Path) -> None:
    """Rows of nulls take no space in the file."""
    schema = pa.schema([("music", pa.binary())])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        nulls = pa.table({"music": pa.nulls(pages.MOST_ROWS + 1, pa.binary())})
        writer.write_table(nulls, row_group_size=pages.MOST_ROWS + 1)
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    (shard,) = build(None, SourceContext(paths=(str(tmp_path / "a.parquet"),))).shards()
    with pytest.raises(DataError, match=r"a\.parquet: 16,777,217 rows.* 16,777,216.* Split"):
        shard.num_rows()


def test_a_footer_beyond_the_limit_is_refused_unread(tmp_path: Path) -> None:
    size = MOST_FOOTER_BYTES + 1
    with (tmp_path / "a.parquet").open("wb") as stream:
        stream.write(b"PAR1")
        stream.truncate(4 + size)
        stream.seek(4 + size)
        stream.write(size.to_bytes(4, "little") + b"PAR1")
    with pytest.raises(DataError, match=r"a footer of 16,777,217 bytes; the limit is 16,777,216"):
        batches(tmp_path / "a.parquet")


def test_very_many_row_groups_are_read_in_full_batches(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [f"{n}".encode() for n in range(600)], row_group_size=1)
    found = batches(path)
    assert [len(batch.row) for batch in found] == [256, 256, 88]
    assert [midi for batch in found for midi in batch.midi.to_pylist()] == [f"{n}".encode() for n in range(600)]
    assert np.concatenate([batch.row for batch in found]).tolist() == list(range(600))


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_ordinary_rows_are_read_in_full_batches(tmp_path: Path, compression: str) -> None:
    """A dictionary of many values is no reason for small batches: none of its values is large."""
    generator = np.random.Generator(np.random.Philox(2))
    music = [generator.bytes(2000) for _ in range(600)]
    path = write(tmp_path / "a.parquet", music, compression=compression, dictionary_pagesize_limit=2 << 20)
    found = batches(path)
    assert [len(batch.row) for batch in found] == [256, 256, 88]
    assert [midi for batch in found for midi in batch.midi.to_pylist()] == music


def test_a_header_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [b"one", b"two"])
    start = pq.read_metadata(path).row_group(0).column(0).dictionary_page_offset
    for damage in (b"\xff" * 8, b"\x19" * 8, b"\x1c" * 8):
        content = bytearray(path.read_bytes())
        content[start : start + 8] = damage
        (tmp_path / "b.parquet").write_bytes(content)
        with pytest.raises(
            DataError, match=rf"b\.parquet: row group 0, column 'music': cannot be read \(no header .* {start}"
        ):
            batches(tmp_path / "b.parquet")
