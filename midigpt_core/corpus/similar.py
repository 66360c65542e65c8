"""The keys of a corpus's pieces by which the same music is recognised, stored next to each shard."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from midigpt_core import files
from midigpt_core.cores import available_cores
from midigpt_core.score.columns import level_columns
from midigpt_core.score.similarity import SIMILARITY_VERSION, SKETCH_SIZE, MusicKeys, music_keys

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.corpus.store import OpenCorpus, ShardFile

# Length of the XXH3 before the keys in a stored file.
_CHECKSUM_BYTES = 8
_READ = ("track_drum", "track_cell_end", *level_columns("cell"), "note_onset", "note_duration", "note_pitch")


def corpus_keys(opened: OpenCorpus) -> MusicKeys:
    """The keys of all pieces, in the order of piece indices. They are computed once per shard.

    Raises :class:`midigpt_core.errors.CorpusError` if a shard is damaged.
    """
    with ThreadPoolExecutor(min(available_cores(), len(opened.files)), thread_name_prefix="keys") as pool:
        parts = list(pool.map(_shard_keys, opened.files))
    return MusicKeys(
        np.concatenate([part.exact for part in parts]),
        np.concatenate([part.sketch for part in parts]),
        np.concatenate([part.bars for part in parts]),
    )


def _shard_keys(shard: ShardFile) -> MusicKeys:
    path = shard.path.with_name(f"music-{SIMILARITY_VERSION}.bin")
    keys = _read(path, shard.shard.columns.num_pieces)
    if keys is None:
        shard.verify_columns(_READ)
        keys = music_keys(shard.shard.columns)
        shard.check_unlost()
        _remember(path, keys)
    return keys


def _remember(path: Path, keys: MusicKeys) -> None:
    content = keys.exact.tobytes() + keys.bars.tobytes() + keys.sketch.tobytes()
    # A corpus in a folder that cannot be written (shared, read-only) can still be used for training.
    with contextlib.suppress(files.WriteError, OSError):
        files.remove_leftovers(path.parent)
        files.write_bytes(path, xxhash.xxh3_64_digest(content) + content)


def _read(path: Path, pieces: int) -> MusicKeys | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    checksum, content = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
    if len(content) != pieces * (16 + 4 * SKETCH_SIZE) or xxhash.xxh3_64_digest(content) != checksum:
        return None
    return MusicKeys(
        np.frombuffer(content, np.uint64, pieces),
        np.frombuffer(content, np.uint32, pieces * SKETCH_SIZE, 16 * pieces).reshape(pieces, SKETCH_SIZE),
        np.frombuffer(content, np.int64, pieces, 8 * pieces),
    )
