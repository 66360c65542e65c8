"""The copy index: fingerprints of the bars of a corpus, to find what a model has copied from it.

It takes 8 bytes for each different bar of at least four notes. A sample of the bars, chosen by content, takes less and
gives the same rate on average: bars outside the sample are neither indexed nor looked up.

The file is a NumPy array of uint64: a head that identifies the corpus and its pieces, then the fingerprints, ascending.
It is mapped, so that only the pages that a lookup touches are read.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash
from attrs import field, frozen

from midigpt_core import files
from midigpt_core.errors import DataError
from midigpt_core.score.bar_fingerprints import GRID, LEAST_NOTES, bar_fingerprints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midigpt_core.corpus.store import OpenCorpus
    from midigpt_core.records import BoolArray, Int64Array, ScoreColumns, UInt64Array

#: The name of the index in a run's folder.
NAME = "copies.npy"
#: The folder of a run's checkpoints, in the run's folder.
CHECKPOINTS = "checkpoints"
#: The first word of the head. Raise the version with every change of fingerprints or layout.
_MAGIC, _VERSION = int.from_bytes(b"midicopy", "little"), 2
#: Words of the head by version: magic, version and rules, four words of the corpus's fingerprint, share of the sample,
#: number and checksum of the fingerprints, two words that identify the pieces (from version 2 on), checksum.
_HEADS = {1: 10, 2: 12}
#: How the bars are compared, in the second word.
_RULES = GRID | LEAST_NOTES << 16
#: Notes whose fingerprints are computed at once: some 100 MB.
_NOTES_AT_ONCE = 1 << 20
#: Fingerprints that wait before they are merged, at least.
_LEAST_MERGED = 1 << 20
#: Bytes of a fingerprint while two sorted lists become one.
_MERGING_BYTES = 3 * 8
_NEXT = "Remove it, or give the training data (--train-data) so that a new one is made."


@frozen(eq=False, kw_only=True)
class CopyIndex:
    """The bars of one corpus: a :class:`midigpt_core.contracts.KnownBars`."""

    #: The corpus (:attr:`midigpt_core.corpus.store.OpenCorpus.fingerprint`), hexadecimal.
    corpus: str
    #: Which of its pieces are indexed (:func:`pieces_digest`); empty: the file does not say.
    pieces: str
    #: Share of the different bars that are indexed and looked up, above 0, at most 1.
    sample: float
    #: uint64, ascending, each once.
    fingerprints: UInt64Array = field(repr=False)

    def looked_up(self, fingerprints: UInt64Array) -> BoolArray:
        """Which fingerprints uint64[n] belong to the sample: bool[n]."""
        return _in_sample(fingerprints, self.sample)

    def contains(self, fingerprints: UInt64Array) -> BoolArray:
        """Which fingerprints uint64[n] are in the index: bool[n]."""
        places = np.searchsorted(self.fingerprints, fingerprints)
        found = np.zeros(len(fingerprints), np.bool_)
        inside = places < len(self.fingerprints)
        found[inside] = self.fingerprints[places[inside]] == fingerprints[inside]
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to ``path``, atomically. Raises :class:`midigpt_core.files.WriteError`."""
        head = np.zeros(_HEADS[_VERSION], np.uint64)
        head[:2] = _MAGIC, _VERSION | _RULES << 32
        head[2:6] = np.frombuffer(bytes.fromhex(self.corpus), "<u8")
        head[6] = struct.unpack("<Q", struct.pack("<d", self.sample))[0]
        head[7:9] = len(self.fingerprints), xxhash.xxh3_64_intdigest(self.fingerprints.data)
        head[9:11] = np.frombuffer(bytes.fromhex(self.pieces), "<u8")
        head[-1] = xxhash.xxh3_64_intdigest(head[:-1].data)
        with files.atomic_writer(path) as stream:
            stream.write(_numpy_header(len(head) + len(self.fingerprints)))
            stream.write(head.data)
            stream.write(self.fingerprints.data)


def pieces_digest(pieces: Int64Array) -> str:
    """Identifies some pieces of a corpus, int64[n] ascending: 32 hexadecimal digits."""
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(pieces, "<i8").data)


def require_same_corpus(found: str, trained_on: str, name: str) -> None:
    """Raise :class:`DataError` unless two fingerprints are of the same corpus; ``name``: what ``found`` belongs to."""
    if found != trained_on:
        raise DataError(
            f"{name}: another corpus (fingerprint {found[:12]}) than the model was trained on ({trained_on[:12]}). "
            f"Give the data that it was trained on, or the {NAME} of its run."
        )


def build_copy_index(
    opened: OpenCorpus,
    pieces: Int64Array,
    *,
    most_bytes: int,
    corpus: str | None = None,
    sample: float = 1.0,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
    go_on: Callable[[], bool] = lambda: True,
) -> CopyIndex | None:
    """The index of ``pieces`` of ``opened``, int64 ascending; None once ``go_on`` is False.

    ``progress`` is called with the notes that are done and with all.
    ``corpus``: the fingerprint that it gets; None: that of ``opened``.

    Takes at most ``most_bytes`` of memory, and some 100 MB for the bars at hand. Raises :class:`DataError` with how far
    it came and what to lower if that is not enough, :class:`midigpt_core.errors.CorpusError` for a damaged corpus.
    """
    known = np.zeros(0, np.uint64)
    waiting: list[UInt64Array] = []
    total = sum(len(file.shard.columns.note_pitch) for file in opened.files)
    done = 0

    def merged() -> UInt64Array:
        size = (len(known) + sum(map(len, waiting))) * _MERGING_BYTES
        if size > most_bytes:
            raise DataError(
                f"the copy index does not fit in {most_bytes / 2**20:,.0f} MiB of memory: {len(known):,} bars after "
                f"{done / max(total, 1):.0%} of the training corpus. Lower the share of bars that is indexed: "
                f"--copy-sample, or the setting music_copy_sample, now {sample:g}."
            )
        return np.unique(np.concatenate([known, *waiting]))

    wanted = np.zeros(opened.corpus.num_pieces, np.bool_)
    wanted[pieces] = True
    for file, place in zip(opened.files, opened.corpus.piece_offsets.tolist(), strict=False):
        for first, end in _ranges(file.shard.columns):
            if not go_on():
                return None
            progress(done, total)
            done += int(file.shard.columns.note_offsets[end] - file.shard.columns.note_offsets[first])
            of_range = wanted[place + first : place + end]
            if not of_range.any():
                continue
            file.verify_pieces(np.arange(first, end))
            cells, fingerprints = bar_fingerprints(file.shard.columns, first, end)
            file.check_unlost()
            chosen = of_range[cells.piece - first] & (cells.notes >= LEAST_NOTES) & _in_sample(fingerprints, sample)
            waiting.append(np.unique(fingerprints[chosen]))
            if sum(map(len, waiting)) > max(len(known), _LEAST_MERGED):
                known, waiting = merged(), []
    progress(done, total)
    return CopyIndex(
        corpus=corpus or opened.fingerprint, pieces=pieces_digest(pieces), sample=sample, fingerprints=merged()
    )


def index_of_bundle(bundle: str | os.PathLike[str], corpus: str) -> CopyIndex | None:
    """The index in the folder of a bundle, or in the folder that is one; None if there is none. For a bundle among a
    run's checkpoints: in the run's folder.

    ``corpus``: the fingerprint of the corpus that the bundle was trained on; empty: it does not say. Raises
    :class:`DataError` for an index that cannot be read, or of another corpus.
    """
    path = Path(bundle)
    folder = path if path.is_dir() else path.parent
    path = (folder.parent if folder.name == CHECKPOINTS else folder) / NAME
    if not path.is_file():
        return None
    index = read_copy_index(path)
    if corpus:
        require_same_corpus(index.corpus, corpus, str(path))
    return index


def read_copy_index(path: str | os.PathLike[str]) -> CopyIndex:
    """Map an index. Treats the file as hostile. Raises :class:`DataError` naming the file and what is wrong."""
    try:
        with files.open_regular(path) as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            # NumPy's own reader evaluates the header; this one knows what it has to be.
            count = (size - len(_numpy_header(0))) // 8
            header = _numpy_header(max(count, 0))
            if count < min(_HEADS.values()) or size != len(header) + 8 * count or stream.read(len(header)) != header:
                raise DataError(f"{path}: is no copy index. {_NEXT}")
        words = np.memmap(path, "<u8", "r", offset=len(header), shape=(count,))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it has changed"
        raise DataError(f"{path}: cannot be read as a copy index ({reason}). {_NEXT}") from error
    if int(words[0]) != _MAGIC:
        raise DataError(f"{path}: is no copy index. {_NEXT}")
    rules, version = divmod(int(words[1]), 1 << 32)
    if version not in _HEADS or rules != _RULES:
        raise DataError(f"{path}: was written by another version of midigpt-core. {_NEXT}")
    head, fingerprints = words[: _HEADS[version]], words[_HEADS[version] :]
    if len(head) < _HEADS[version]:
        raise DataError(f"{path}: is damaged. {_NEXT}")
    sample = struct.unpack("<d", struct.pack("<Q", int(head[6])))[0]
    if (
        int(head[-1]) != xxhash.xxh3_64_intdigest(np.ascontiguousarray(head[:-1]).data)
        or int(head[7]) != len(fingerprints)
        or int(head[8]) != xxhash.xxh3_64_intdigest(fingerprints.data)
        or not 0 < sample <= 1
    ):
        raise DataError(f"{path}: is damaged. {_NEXT}")
    return CopyIndex(
        corpus=head[2:6].tobytes().hex(), pieces=head[9:-1].tobytes().hex(), sample=sample, fingerprints=fingerprints
    )


def _numpy_header(count: int) -> bytes:
    """What a NumPy file of ``count`` words begins with; always as many bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_2_0(header, {"descr": "<u8", "fortran_order": False, "shape": (count,)})
    return header.getvalue()


def _in_sample(fingerprints: UInt64Array, sample: float) -> BoolArray:
    if sample >= 1:
        return np.ones(len(fingerprints), np.bool_)
    # The fingerprints' last bits decide, so that the index stays evenly spread.
    chosen: BoolArray = (fingerprints & np.uint64(0xFFFFFFFF)) < np.uint64(sample * 2**32)
    return chosen


def _ranges(columns: ScoreColumns) -> Iterator[tuple[int, int]]:
    """Runs [first, end) of pieces with about :data:`_NOTES_AT_ONCE` notes; a longer piece is a run of its own."""
    first = 0
    offsets: Int64Array = columns.note_offsets
    while first < columns.num_pieces:
        after = int(np.searchsorted(offsets, int(offsets[first]) + _NOTES_AT_ONCE, side="right")) - 1
        end = min(max(after, first + 1), columns.num_pieces)
        yield first, end
        first = end
