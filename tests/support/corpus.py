"""Parts for the tests of the corpus: parquet shards, builds, and builds in processes that can be killed."""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from midigpt_core.components import ComponentRef
from midigpt_core.corpus.build import BuildReport, build
from midigpt_core.corpus.format import SIDECAR_NAME, read_sidecar
from midigpt_core.errors import MidigptError
from midigpt_core.score.columns import COLUMNS, OFFSETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.context import ForkServerContext
    from multiprocessing.process import BaseProcess

    from midigpt_core.records import PieceTable, ScoreColumns

MIDI = sorted((Path(__file__).parents[1] / "data" / "midi").glob("*.mid"))
#: Small files, so that tests of the machinery spend no time on music.
SMALL = [path.read_bytes() for path in MIDI if path.stat().st_size < 4000]
GIGAMIDI = ComponentRef(kind="source", name="gigamidi", target="midigpt_gigamidi.source:build")


def write_shard(path: Path, music: Sequence[bytes | None], **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.array(list(music), pa.binary())
    pq.write_table(pa.table({"music": kind, **columns}), path, row_group_size=100)
    return path


def small_rows(count: int, seed: int = 0) -> list[bytes]:
    """``count`` small MIDI files in an order that depends on ``seed``."""
    choice = np.random.Generator(np.random.Philox(seed)).integers(0, len(SMALL), count)
    return [SMALL[index] for index in choice]


def write_shards(folder: Path, shards: int, rows: int) -> list[str]:
    return [str(write_shard(folder / f"{n}.parquet", small_rows(rows, n))) for n in range(shards)]


def data_files(shard: Path) -> list[str]:
    return list(read_sidecar(shard.with_name(SIDECAR_NAME)).sizes())


def digests(report: BuildReport) -> list[str]:
    """sha256 of each shard's data files, one after another."""
    return [
        hashlib.sha256(b"".join(path.with_name(name).read_bytes() for name in data_files(path))).hexdigest()
        for path in report.shards
    ]


def data_bytes(shard: Path) -> int:
    """What a shard's data files take of the disk."""
    return sum(shard.with_name(name).stat().st_size for name in data_files(shard))


def content(columns: ScoreColumns, pieces: PieceTable) -> dict[str, np.ndarray]:
    """Every array of a shard by name."""
    arrays = {name: getattr(columns, name) for name in (*COLUMNS, *OFFSETS.values())}
    names = ("id_offsets", "id_bytes", "row", "status", "content_hash", "genre_offsets", "genre_bytes")
    return arrays | {name: getattr(pieces, name) for name in names}


def process_context() -> ForkServerContext:
    """Processes that start in milliseconds: forked from one that has imported what a build needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.corpus"])
    return context


def start_build(paths: list[str], cache: Path, parser: str, **limits: Any) -> tuple[BaseProcess, Any]:
    """A build in a process of its own, and the end of a pipe that gets (shards built, digests) or an error message."""
    context = process_context()
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_build_and_tell, args=(theirs, paths, cache, parser, limits))
    process.start()
    theirs.close()
    return process, ours


def _build_and_tell(pipe: Any, paths: list[str], cache: Path, parser: str, limits: dict[str, Any]) -> None:
    open_files = limits.pop("open_files", None)
    if open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    file_size = limits.pop("file_size", None)
    if file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    try:
        report = build(GIGAMIDI, paths, cache=cache, parser=parser, **limits)
    except MidigptError as error:
        pipe.send(str(error))
    else:
        pipe.send((report.built, digests(report)))
