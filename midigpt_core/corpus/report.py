"""``midigpt corpus …`` as functions: describe, verify and clean corpora, and find music that two of them share."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core import files
from midigpt_core.corpus.cache import cache_root, corpora_folder, explained, owned
from midigpt_core.corpus.duplicates import CopyKind, copies_among, shared_music
from midigpt_core.corpus.format import DATA_NAME, SIDECAR_NAME, Totals, read_sidecar
from midigpt_core.corpus.similar import corpus_keys
from midigpt_core.corpus.status import KEPT, in_order
from midigpt_core.corpus.store import ShardFile, open_corpus
from midigpt_core.corpus.tally import MAX_EXAMPLES, merge_examples
from midigpt_core.errors import CorpusError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from midigpt_core.corpus.store import OpenCorpus
    from midigpt_core.records import Int64Array


@frozen(kw_only=True)
class CorpusInfo:
    """What some shards hold, from their sidecars alone."""

    shards: tuple[Path, ...]
    #: Source file of each shard.
    sources: tuple[str, ...]
    #: Rows of the sources by reason; ``"kept"`` are those with music.
    counts: dict[str, int]
    #: A few rows for each reason but ``"kept"``, each with its file.
    examples: dict[str, list[str]]
    totals: Totals
    #: Bytes on disk, including stored lists of eligible pieces.
    disk_bytes: int

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


@frozen(kw_only=True)
class VerifyReport:
    """Every byte of some shards, checked."""

    shards: int
    #: Data bytes of the shards that are whole.
    bytes_checked: int
    #: What is wrong, one message per damaged shard.
    damaged: tuple[str, ...]


@frozen(kw_only=True)
class CleanReport:
    #: Folders that were removed.
    removed: tuple[Path, ...]
    bytes_freed: int
    kept: int
    #: Shards that a running process is writing, left alone.
    busy: int


@frozen(kw_only=True)
class Leakage:
    """Evaluation pieces whose music is also in the training corpus."""

    #: With exactly the same notes.
    pieces: int
    #: With the same music apart from key, tempo, loudness, instruments and the order of tracks, or most of it
    #: (:mod:`midigpt_core.corpus.duplicates`), and not counted above.
    near_pieces: int
    #: Pieces with music in the evaluation corpus.
    eval_pieces: int
    #: ``"eval row = training row"``, of exactly the same notes.
    examples: tuple[str, ...]


def cached_shards(cache: Path | None = None) -> list[Path]:
    """The data files of all usable corpora in the cache."""
    found = []
    for path in finished_shards(cache):
        try:
            read_sidecar(path.with_name(SIDECAR_NAME))
        except CorpusError:
            continue
        found.append(path)
    return found


def finished_shards(cache: Path | None = None) -> list[Path]:
    """The data files of all corpora in the cache that were completed, including damaged ones."""
    return [folder / DATA_NAME for folder in _folders(cache or cache_root()) if (folder / SIDECAR_NAME).exists()]


def info(shards: Sequence[Path], sources: Sequence[str] = ()) -> CorpusInfo:
    """Describe ``shards``, under the names ``sources`` or, without them, those that their corpora were built under.

    Raises :class:`CorpusError` if a shard is missing or of another version.
    """
    sidecars = [read_sidecar(path.with_name(SIDECAR_NAME)) for path in shards]
    names = tuple(sources) or tuple(sidecar.source for sidecar in sidecars)
    counts: Counter[str] = Counter()
    programs: Counter[str] = Counter()
    signatures: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for sidecar in sidecars:
        counts.update(sidecar.counts)
        programs.update(sidecar.totals.programs)
        signatures.update(sidecar.totals.signatures)
        sizes.update({name: getattr(sidecar.totals, name) for name in ("pieces", "tracks", "bars", "notes")})
    return CorpusInfo(
        shards=tuple(shards),
        sources=names,
        counts=in_order(counts),
        examples=merge_examples((name, sidecar.examples) for name, sidecar in zip(names, sidecars, strict=True)),
        totals=Totals(**sizes, programs=dict(programs), signatures=dict(signatures)),
        disk_bytes=sum(_size(path.parent) for path in shards),
    )


def count_copies(shards: Sequence[Path]) -> dict[str, int]:
    """How many pieces are copies of another one that is not counted, by kind: ``"exact"`` and ``"near"``.

    Raises :class:`CorpusError` if a shard is missing or damaged.
    """
    counts = {kind.name.lower(): 0 for kind in CopyKind if kind}
    if shards:
        opened = open_corpus(shards)
        kinds = copies_among(opened, _music_hashes(opened)[0])
        counts = {name: int(np.count_nonzero(kinds == CopyKind[name.upper()])) for name in counts}
    return counts


def verify(shards: Sequence[Path]) -> VerifyReport:
    """Check every byte. Damage is reported, not raised."""
    damaged = []
    checked = 0
    for path in shards:
        try:
            checked += _verified_size(path)
        except CorpusError as error:
            damaged.append(str(error))
    return VerifyReport(shards=len(shards), bytes_checked=checked, damaged=tuple(damaged))


def clean(cache: Path | None = None, *, everything: bool = False) -> CleanReport:
    """Remove from the cache what is damaged, unfinished or of another version, or ``everything``.

    The next preprocessing builds again what was removed. Raises :class:`midigpt_core.files.WriteError` if the cache
    cannot be written.
    """
    removed = []
    freed = kept = busy = 0
    for folder in _folders(cache or cache_root()):
        try:
            with owned(folder, waiting=_give_up):
                if not folder.is_dir():
                    continue  # a build that failed in the meantime removed it
                if not everything and _is_whole(folder):
                    files.remove_leftovers(folder)
                    kept += 1
                    continue
                freed += _size(folder)
                with explained(folder):
                    shutil.rmtree(folder)
                removed.append(folder)
        except _Busy:
            busy += 1
    return CleanReport(removed=tuple(removed), bytes_freed=freed, kept=kept, busy=busy)


def leakage(train: Sequence[Path], evaluation: Sequence[Path]) -> Leakage:
    """Find evaluation pieces with the same music as a training piece, note for note, and count near copies.

    Raises :class:`CorpusError` if a shard is missing or damaged.
    """
    training, evaluated = open_corpus(train), open_corpus(evaluation)
    train_pieces, train_hashes = _music_hashes(training)
    eval_pieces, eval_hashes = _music_hashes(evaluated)
    order = np.argsort(train_hashes)
    position = np.searchsorted(train_hashes, eval_hashes, sorter=order)
    candidate = order[np.minimum(position, len(order) - 1)] if len(order) else np.zeros(len(eval_hashes), np.int64)
    shared = train_hashes[candidate] == eval_hashes if len(order) else np.zeros(len(eval_hashes), np.bool_)
    pairs = zip(eval_pieces[shared].tolist(), train_pieces[candidate[shared]].tolist(), strict=True)
    examples = tuple(
        f"{evaluated.describe(piece)} = {training.describe(twin)}"
        for (piece, twin), _ in zip(pairs, range(MAX_EXAMPLES), strict=False)
    )
    rest = corpus_keys(evaluated).of_pieces(eval_pieces[~shared])
    near = shared_music(rest, corpus_keys(training).of_pieces(train_pieces))
    return Leakage(
        pieces=int(shared.sum()),
        near_pieces=near.same + near.similar,
        eval_pieces=len(eval_pieces),
        examples=examples,
    )


class _Busy(Exception):
    """Another process owns the shard."""


def _give_up() -> None:
    raise _Busy


def _folders(cache: Path) -> Iterable[Path]:
    folder = corpora_folder(cache)
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _verified_size(data_path: Path) -> int:
    shard = ShardFile(data_path)
    shard.verify_all()
    return shard.sidecar.size


def _is_whole(folder: Path) -> bool:
    try:
        _verified_size(folder / DATA_NAME)
    except CorpusError:
        return False
    return True


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _music_hashes(opened: OpenCorpus) -> tuple[Int64Array, np.ndarray[tuple[int], np.dtype[np.void]]]:
    """The pieces that have notes and their content hashes as one 16-byte value each."""
    pieces, hashes = [], []
    for file, first in zip(opened.files, opened.corpus.piece_offsets, strict=False):
        file.verify_index()
        shard = file.shard
        chosen = np.flatnonzero((shard.pieces.status == KEPT) & (np.diff(shard.columns.note_offsets) > 0))
        pieces.append(chosen + first)
        hashes.append(np.ascontiguousarray(shard.pieces.content_hash[chosen]))
    joined = np.concatenate(hashes)
    return np.concatenate(pieces), joined.view(np.dtype((np.void, joined.shape[1]))).ravel()
