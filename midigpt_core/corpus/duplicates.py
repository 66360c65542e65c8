"""Finds copies of music among pieces, and pieces that two corpora share.

Two pieces are *exact copies* if their bars, tracks and notes are equal, and *near copies* if they are the same music
apart from key, tempo, loudness, instruments and the order of their tracks: if all of their notes are at the same
places or, for pieces of at least :data:`LEAST_BARS` different bars, if about four fifths of the different bars are
equal. Shorter pieces, of a drum pattern say, have bars in common by chance.

Of exact copies the first piece stays. Of near copies the one with the most different bars stays, then the one with the
most notes, then the one with the least content hash: which music stays does not depend on the order of shards.

Near copies are found by locality-sensitive hashing: pieces are compared if some of the values of their sketches, in one
of a few fixed selections, are all equal. The time grows with P log P for P pieces, also if many share a selection.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import xxhash
from attrs import frozen

from midigpt_core.corpus.remembered import recall, remember
from midigpt_core.corpus.similar import corpus_keys
from midigpt_core.score.content_hash import CONTENT_HASH_BYTES
from midigpt_core.score.similarity import SIMILARITY_VERSION, SKETCH_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.corpus.store import OpenCorpus
    from midigpt_core.records import BoolArray, Int64Array, UInt8Array, UInt64Array
    from midigpt_core.score.similarity import MusicKeys, UInt32Array

# Raise with every change of what is a copy, or of which one stays.
_VERSION = 1
#: Different bars from which on pieces are compared by their sketches.
LEAST_BARS = 16
#: Equal values of two sketches from which on pieces are near copies.
NEAR_VALUES = 26
# Values of a sketch that are looked up together. Eight selections of four find nearly every pair with so many equal
# values.
_SELECTED = 4
_SELECTIONS = SKETCH_SIZE // _SELECTED
# Pieces of one selection that a piece is compared with, at most.
_ROUNDS = 8
# Pairs of sketches that are compared at once: some ten megabytes.
_PAIRS_AT_ONCE = 1 << 15
_FACTORS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
# Bits of the table by which most values that two corpora do not share are passed over.
_TABLE_BITS = 24


class CopyKind(IntEnum):
    """Whether a piece is a copy of one that stays."""

    NONE = 0
    EXACT = 1
    NEAR = 2


@frozen(kw_only=True)
class SharedMusic:
    """How many pieces of one corpus are copies of pieces of another."""

    #: With the same notes at the same places, apart from key, tempo, loudness, instruments and the order of tracks.
    same: int
    #: With about four fifths of their different bars in common, and not counted above.
    similar: int


def copies_among(opened: OpenCorpus, pieces: Int64Array) -> UInt8Array:
    """uint8[len(pieces)], the :class:`CopyKind` of each of some pieces (int64, ascending) of a corpus that have music.

    The result is stored next to the first shard. Raises :class:`midigpt_core.errors.CorpusError` if a shard is damaged.
    """
    chosen = xxhash.xxh3_128_hexdigest(np.ascontiguousarray(pieces).data)
    rules = [_VERSION, SIMILARITY_VERSION, opened.fingerprint, chosen]
    key = hashlib.sha256(repr(rules).encode()).hexdigest()[:32]
    path = opened.shard_paths[0].with_name(f"copies-{key}.bin")
    stored = recall(path, len(pieces))
    if stored is not None:
        return np.frombuffer(stored, np.uint8)
    kinds = find_copies(corpus_keys(opened), *_index_of(opened), pieces)
    remember(path, kinds.tobytes())
    return kinds


def find_copies(keys: MusicKeys, hashes: UInt64Array, notes: Int64Array, pieces: Int64Array) -> UInt8Array:
    """uint8[len(pieces)], the :class:`CopyKind` of each of ``pieces``, int64 ascending, among them.

    Of all P pieces: ``hashes``, uint64[P, 2], the content hashes; ``notes``, int64[P]. Pieces without notes are no
    copies of one another.
    """
    kinds = np.zeros(len(notes), np.uint8)
    with_notes = pieces[keys.bars[pieces] > 0]
    kinds[with_notes[_exact_copies(hashes[with_notes])]] = CopyKind.EXACT
    left = with_notes[kinds[with_notes] == CopyKind.NONE]
    # The piece that stays comes first: so it does in every selection, as sorting is stable.
    left = left[np.lexsort((hashes[left, 1], hashes[left, 0], -notes[left], -keys.bars[left]))]
    kinds[left[_near_copies(keys, left)]] = CopyKind.NEAR
    return kinds[pieces]


def shared_music(evaluated: MusicKeys, training: MusicKeys) -> SharedMusic:
    """How many pieces of ``evaluated`` are copies of a piece of ``training``."""
    same = np.zeros(len(evaluated.exact), np.bool_)
    similar = np.zeros(len(evaluated.exact), np.bool_)
    every = np.arange(len(evaluated.exact)), np.arange(len(training.exact))
    lookups = zip(_lookups(evaluated, every[0]), _lookups(training, every[1]), strict=True)
    for (is_sketch, values), (_, others) in lookups:
        open_ones = np.flatnonzero(~same & ~similar & _comparable(evaluated, is_sketch=is_sketch))
        asked = values[open_ones]
        known = np.flatnonzero(_comparable(training, is_sketch=is_sketch) & _maybe_in(asked, others))
        order = known[np.argsort(others[known], kind="stable")]
        first = np.searchsorted(others[order], asked, side="left")
        end = np.searchsorted(others[order], asked, side="right")
        if not is_sketch:
            same[open_ones] = end > first
            continue
        for _ in range(_ROUNDS):
            has = first < end
            open_ones, first, end = open_ones[has], first[has], end[has]
            if not len(open_ones):
                break
            found = _are_near(evaluated.sketch, open_ones, training.sketch, order[first])
            similar[open_ones[found]] = True
            open_ones, first, end = open_ones[~found], first[~found] + 1, end[~found]
    return SharedMusic(same=int(same.sum()), similar=int(similar.sum()))


def _index_of(opened: OpenCorpus) -> tuple[UInt64Array, Int64Array]:
    """The content hashes of all pieces as uint64[P, 2], and how many notes they have."""
    hashes, notes = [], []
    for file in opened.files:
        file.verify_index()
        hashes.append(np.ascontiguousarray(file.shard.pieces.content_hash).view(np.uint64))
        notes.append(np.diff(file.shard.columns.note_offsets))
    return np.concatenate(hashes).reshape(-1, CONTENT_HASH_BYTES // 8), np.concatenate(notes)


def _exact_copies(hashes: UInt64Array) -> Int64Array:
    """The pieces whose content hash an earlier one has."""
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    equal = (hashes[order[1:]] == hashes[order[:-1]]).all(axis=1)
    copies: Int64Array = order[1:][equal]
    return copies


def _near_copies(keys: MusicKeys, pieces: Int64Array) -> BoolArray:
    """bool[len(pieces)], which pieces are near copies of an earlier one that was none itself when it was compared."""
    is_copy = np.zeros(len(pieces), np.bool_)
    for is_sketch, values in _lookups(keys, pieces):
        among = np.flatnonzero(~is_copy & _comparable(keys, is_sketch=is_sketch)[pieces])
        among = among[np.argsort(values[among], kind="stable")]
        for _ in range(_ROUNDS):
            if len(among) < 2:
                break
            is_first = np.ones(len(among), np.bool_)
            is_first[1:] = values[among[1:]] != values[among[:-1]]
            starts = np.flatnonzero(is_first)
            others = np.flatnonzero(~is_first)
            leads = among[starts[np.cumsum(is_first)[others] - 1]]
            among = among[others]
            if is_sketch:
                found = _are_near(keys.sketch, pieces[among], keys.sketch, pieces[leads])
                is_copy[among[found]] = True
                among = among[~found]
            else:
                is_copy[among] = True
                break
    return is_copy


def _lookups(keys: MusicKeys, pieces: Int64Array) -> Iterator[tuple[bool, UInt64Array]]:
    """Values of some pieces that copies have in common, each with whether it is a selection of sketch values: then an
    equal one says only that two pieces are worth comparing."""
    yield False, keys.exact[pieces]
    for selection in range(_SELECTIONS):
        yield True, _selected(keys.sketch, pieces, selection)


def _selected(sketch: UInt32Array, pieces: Int64Array, selection: int) -> UInt64Array:
    # Values that are neighbours may be of one bar, as empty ones borrow.
    first, second, third, fourth = (
        sketch[pieces, place].astype(np.uint64) for place in range(selection, SKETCH_SIZE, _SELECTIONS)
    )
    shift = np.uint64(32)
    selected: UInt64Array = (first << shift | second) * _FACTORS[0] + (third << shift | fourth) * _FACTORS[1]
    return selected


def _comparable(keys: MusicKeys, *, is_sketch: bool) -> BoolArray:
    enough: BoolArray = keys.bars >= (LEAST_BARS if is_sketch else 1)
    return enough


def _are_near(one: UInt32Array, pieces: Int64Array, other: UInt32Array, others: Int64Array) -> BoolArray:
    """bool[n], whether each of ``pieces`` of sketches ``one`` and each of ``others`` of sketches ``other`` are near."""
    near = np.zeros(len(pieces), np.bool_)
    for first in range(0, len(pieces), _PAIRS_AT_ONCE):
        here = slice(first, first + _PAIRS_AT_ONCE)
        near[here] = (one[pieces[here]] == other[others[here]]).sum(axis=1) >= NEAR_VALUES
    return near


def _maybe_in(values: UInt64Array, others: UInt64Array) -> BoolArray:
    """bool[len(others)], False only for values that are not in ``values``."""
    table = np.zeros(1 << _TABLE_BITS, np.bool_)
    table[_slots(values)] = True
    return table[_slots(others)]


def _slots(values: UInt64Array) -> Int64Array:
    return (values >> np.uint64(64 - _TABLE_BITS)).astype(np.int64)
