"""Time and memory of the copy index for 1, 10 and 100 times the data set of ``make run``.

The last is the 10-fold data ten times, in each with other intervals, so that no bar of one is in another: the most that
an index can grow.

python -m bench.copy_index           # processor seconds on one thread; table in docs/evaluation.md
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs
import numpy as np

from midigpt_core.corpus.build import build
from midigpt_core.corpus.copy_index import build_copy_index
from midigpt_core.corpus.store import open_corpus
from midigpt_core.plugins import current_registry
from midigpt_core.records import Corpus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.corpus.store import OpenCorpus, ShardFile

_COMPOSE = Path(__file__).resolve().parents[1] / "docs" / "demo" / "compose.py"
#: Pieces of the training split, once.
_PIECES = 300
#: Times the data set is composed, and how often it is then altered.
_SIZES = ((1, 1), (10, 1), (10, 10))


def main() -> None:
    print("| pieces | notes | different bars | index | built in | most memory | a lookup |")
    print("|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for times, copies in _SIZES:
            data = Path(folder) / str(times)
            if not data.exists():
                sizes = ["--train", str(times * _PIECES), "--valid", "2"]
                subprocess.run([sys.executable, str(_COMPOSE), str(data), *sizes], check=True)
            source = current_registry().resolve("source", "gigamidi")
            shards = build(source, [str(data / "train" / "00000.parquet")], cache=Path(folder) / "cache").shards
            # A process of its own, in which nothing else allocates.
            child = multiprocessing.get_context("spawn").Process(target=_measure, args=(shards, copies))
            child.start()
            child.join()


@attrs.frozen(eq=False)
class _Altered:
    """A corpus several times over, made one at a time."""

    opened: OpenCorpus
    copies: int

    @property
    def fingerprint(self) -> str:
        return self.opened.fingerprint

    @property
    def corpus(self) -> Corpus:
        sizes = np.tile(np.diff(self.opened.corpus.piece_offsets), self.copies)
        return Corpus([], np.concatenate([[0], np.cumsum(sizes)]))

    @property
    def files(self) -> Iterator[ShardFile]:
        for copy in range(self.copies):
            for file in self.opened.files:
                if not copy:
                    yield file
                    continue
                columns = file.shard.columns
                # A factor of its own: intervals of one copy are not those of another.
                pitch = (columns.note_pitch.astype(np.uint16) * (2 * copy + 1) % 128).astype(np.uint8)
                onset = columns.note_onset + 40 * copy
                changed = attrs.evolve(columns, note_pitch=pitch, note_onset=onset)
                yield cast("Any", _File(attrs.evolve(file.shard, columns=changed)))


@attrs.frozen(eq=False)
class _File:
    """A shard whose bytes need no check."""

    shard: Any

    def verify_pieces(self, pieces: object) -> None:
        return

    def check_unlost(self) -> None:
        return


def _measure(shards: list[Path], copies: int) -> None:
    opened = open_corpus(shards)
    notes = copies * sum(len(file.shard.columns.note_pitch) for file in opened.files)
    corpus = cast("OpenCorpus", _Altered(opened, copies))
    pieces = np.arange(corpus.corpus.num_pieces)
    begin = time.process_time()
    index = build_copy_index(corpus, pieces, most_bytes=1 << 40)
    seconds = time.process_time() - begin
    assert index is not None
    # Once more, as counting takes time: what it allocates, without the pages of the mapped corpus.
    tracemalloc.start()
    build_copy_index(corpus, pieces, most_bytes=1 << 40)
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    asked = np.random.default_rng(1).integers(0, 2**64, 100_000, dtype=np.uint64)
    begin = time.process_time()
    index.contains(asked)
    lookup = (time.process_time() - begin) / len(asked)
    size = index.fingerprints.nbytes / 2**20
    print(
        f"| {len(pieces):,} | {notes:,} | {len(index.fingerprints):,} | {size:.2f} MiB | {seconds:.2f} s "
        f"| {most:.0f} MiB | {1e9 * lookup:.0f} ns |",
        flush=True,
    )


if __name__ == "__main__":
    main()
