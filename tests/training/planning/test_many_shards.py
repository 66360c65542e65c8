"""Training on very many shards: each takes one of the maps that a process may have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from midigpt_core.corpus.store import open_corpus
from midigpt_core.training.run import train

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure


def write_shards(folder: Path, files: list[Path], count: int) -> Path:
    """Shards of one row; each music several times, under names of its own."""
    folder.mkdir()
    for number in range(count):
        row = pa.table({"music": [files[number % len(files)].read_bytes()], "md5": [f"row {number}"]})
        pq.write_table(row, folder / f"{number:05}.parquet")
    return folder


def maps_below(folder: Path) -> int:
    with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123 - a stream of lines
        return sum(str(folder) in line for line in maps)


@pytest.mark.parametrize("count", [20, pytest.param(10_000, marks=pytest.mark.slow)])
def test_one_piece_shards_train(
    configure: Configure,
    tmp_path: Path,
    midi_files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    count: int,
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    data = write_shards(tmp_path / "shards", midi_files, count)
    result = train(configure(max_steps=2), data)
    assert result.steps == 2
    shards = sorted((tmp_path / "cache" / "corpus").glob("*/pieces.arrow"))
    assert len(shards) == count
    opened = open_corpus(shards)
    assert opened.corpus.num_pieces == count
    assert maps_below(tmp_path / "cache" / "corpus") == count
