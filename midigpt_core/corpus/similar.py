"""The keys of a corpus's pieces by which the same music is recognised, stored next to each shard."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.cores import available_cores
from midigpt_core.corpus.remembered import recall, remember, stored_bytes
from midigpt_core.score.columns import level_columns
from midigpt_core.score.similarity import SIMILARITY_VERSION, SKETCH_SIZE, MusicKeys, music_keys

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.corpus.format import Sidecar
    from midigpt_core.corpus.store import OpenCorpus, ShardFile

#: The name of the file with the keys in a shard's folder.
KEYS_NAME = f"music-{SIMILARITY_VERSION}.bin"
# Bytes of a piece's keys in it.
_KEY_BYTES = 16 + 4 * SKETCH_SIZE
_READ = ("track_drum", "track_cell_end", *level_columns("cell"), "note_onset", "note_duration", "note_pitch")


def corpus_keys(opened: OpenCorpus) -> MusicKeys:
    """The keys of all pieces, in the order of piece indices. A build stores them; those of a shard that has none, or
    damaged ones, are computed and stored here.

    Raises :class:`midigpt_core.errors.CorpusError` if a shard is damaged.
    """
    keys = MusicKeys.of(opened.corpus.num_pieces)
    firsts = opened.corpus.piece_offsets.tolist()
    with ThreadPoolExecutor(min(available_cores(), len(opened.files)), thread_name_prefix="keys") as pool:
        parts = [keys.part(first, last) for first, last in itertools.pairwise(firsts)]
        list(pool.map(_fill, parts, opened.files))
    return keys


def store_keys(folder: Path, keys: MusicKeys) -> None:
    """Store the keys of a shard's pieces in its folder, if that can be written."""
    remember(folder / KEYS_NAME, keys.exact.tobytes() + keys.bars.tobytes() + keys.sketch.tobytes())


def stored_size(sidecar: Sidecar) -> int:
    """Bytes of the file with the keys of a shard's pieces."""
    return stored_bytes(_KEY_BYTES * next((buffer.count for buffer in sidecar.buffers if buffer.name == "status"), 0))


def _fill(keys: MusicKeys, shard: ShardFile) -> None:
    """Write the keys of a shard's pieces into the arrays of ``keys``."""
    pieces = len(keys.exact)
    content = recall(shard.path.with_name(KEYS_NAME), pieces * _KEY_BYTES)
    if content is None:
        shard.verify_columns(_READ)
        found = music_keys(shard.shard.columns)
        shard.check_unlost()
        store_keys(shard.path.parent, found)
    else:
        found = MusicKeys(
            np.frombuffer(content, np.uint64, pieces),
            np.frombuffer(content, np.uint32, pieces * SKETCH_SIZE, 16 * pieces).reshape(pieces, SKETCH_SIZE),
            np.frombuffer(content, np.int64, pieces, 8 * pieces),
        )
    keys.put(0, found)
