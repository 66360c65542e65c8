"""Unit costs of preprocessing on many machines: processor time and bytes. Figures in docs/scale.md.

python -m bench.scale           # a shard of the real files in tests/data/midi, again and again
"""

from __future__ import annotations

import argparse
import pickle
import resource
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from midigpt_core import files
from midigpt_core.contracts import SourceContext
from midigpt_core.corpus.build import build
from midigpt_core.corpus.cache import FileHashes
from midigpt_core.corpus.format import SIDECAR_NAME, read_sidecar
from midigpt_core.corpus.shared_store import SharedStore
from midigpt_core.plugins import build as build_component
from midigpt_core.plugins import current_registry

if TYPE_CHECKING:
    from collections.abc import Callable

_MIDI = Path(__file__).resolve().parents[1] / "tests" / "data" / "midi"
_ROW_GROUP = 1000
_LISTED = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="files in the shard")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        for what, cost in _costs(Path(name), rows).items():
            print(f"| {what} | {cost} |")


def _costs(folder: Path, rows: int) -> dict[str, str]:
    midi = sorted(path.read_bytes() for path in _MIDI.glob("*.mid"))
    shard = folder / "shard.parquet"
    music = [midi[number % len(midi)] for number in range(rows)]
    table = pa.table({"music": pa.array(music, pa.binary())})
    # A dictionary would hold each of the few files once.
    pq.write_table(table, shard, row_group_size=_ROW_GROUP, use_dictionary=False)
    size = sum(map(len, music))
    del music, table
    gigamidi = current_registry().resolve("source", "gigamidi")
    cache, node = folder / "cache", folder / "node"
    store = SharedStore(str(folder / "store"))
    building = _processor(lambda: build(gigamidi, [str(shard)], cache=cache, workers=1))
    hashing = _processor(lambda: files.blake3_of(shard))
    storing = _processor(lambda: build(gigamidi, [str(shard)], cache=cache, store=store, publish=True))
    fetching = _processor(lambda: build(gigamidi, [str(shard)], cache=node, store=store))
    (sidecar_path,) = cache.rglob(SIDECAR_NAME)
    sidecar = read_sidecar(sidecar_path)
    (folder / "listed").mkdir()
    for number in range(_LISTED):
        (folder / "listed" / f"{number}.mid").touch()
    midifiles = current_registry().resolve("source", "midifiles")
    source = build_component(midifiles, SourceContext(paths=(str(folder / "listed"),), hash_file=FileHashes(cache)))
    listing = _processor(source.shards)
    sent = sum(len(pickle.dumps(found)) for found in source.shards())
    return {
        "MIDI in a file": f"{size / rows / 1e3:.1f} kB",
        "parquet in a file": f"{shard.stat().st_size / rows / 1e3:.1f} kB",
        "corpus in a file": f"{sidecar.size / rows / 1e3:.1f} kB",
        "sidecar in a shard": f"{sidecar_path.stat().st_size / 1e3:.0f} kB",
        "building a corpus": f"{rows / building:,.0f} files/s, {size / building / 1e6:.0f} MB of MIDI/s per processor",
        "hashing a source file": f"{shard.stat().st_size / hashing / 1e9:.1f} GB/s per processor",
        "putting into a store (folder)": f"{sidecar.size / storing / 1e6:,.0f} MB/s per processor",
        "copying from a store and checking": f"{sidecar.size / fetching / 1e6:,.0f} MB/s per processor",
        "listing loose files": f"{_LISTED / listing:,.0f} files/s",
        "sending loose files' names": f"{sent / _LISTED:.0f} bytes a file",
    }


def _processor(work: Callable[[], object]) -> float:
    """Processor seconds of this process, its threads and its children that have ended."""
    before = _used()
    work()
    # The parser's process is counted when it has ended.
    time.sleep(0.1)
    return _used() - before


def _used() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
