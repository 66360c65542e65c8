"""Which pieces an encoder can be trained on, by one vectorised pass over the index: the *eligible pieces*."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

import numpy as np
from attrs import Factory, asdict, field, frozen

from midigpt_core import _native
from midigpt_core.cores import available_cores
from midigpt_core.corpus.remembered import recall, remember
from midigpt_core.corpus.status import KEPT, in_order
from midigpt_core.errors import DataError
from midigpt_core.score.columns import level_columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from midigpt_core.contracts import Encoder
    from midigpt_core.corpus.store import OpenCorpus, ShardFile
    from midigpt_core.records import BoolArray, Int32Array, Int64Array, ScoreColumns, UInt8Array

# Raise with every change in what is selected.
_RULES_VERSION = 1


class Verdict(IntEnum):
    """Why a piece is left out, in the order in which reasons are checked."""

    VALID = 0
    NOT_PARSED = 1  #: the row has no music, for a reason that the corpus report names
    TOO_FEW_TRACKS = 2
    TOO_FEW_BARS = 3
    UNSUPPORTED_SIGNATURE = 4  #: a bar whose time signature the encoder cannot write
    NO_WINDOW = 5  #: no window in which enough tracks have notes in enough bars
    EXACT_COPY = 6  #: another piece has the same notes, and copies are left out (the setting deduplicate)
    NEAR_COPY = 7  #: another piece is nearly the same, and near copies are left out


def _distinct(sizes: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(sizes)))


@frozen(kw_only=True)
class SelectionLimits:
    """Requirements on a piece.

    A window of n bars is usable if at least ``min_tracks`` tracks have notes in at least
    ``max(1, ceil(min_fill_ratio * n))`` of its bars; one usable window of any of the sizes is enough.
    """

    min_bars: int
    min_tracks: int
    #: Window sizes in bars.
    window_sizes: tuple[int, ...] = field(converter=_distinct)
    min_fill_ratio: float


@frozen(eq=False)
class EligiblePieces:
    """The pieces of a corpus that can be trained on."""

    #: int64, ascending.
    pieces: Int64Array
    #: All pieces by verdict, ``"valid"`` included, in the order of :class:`Verdict`.
    counts: Mapping[str, int]


def select(opened: OpenCorpus, encoder: Encoder, limits: SelectionLimits) -> EligiblePieces:
    """Find the eligible pieces. They are stored next to each shard for this encoder configuration and these limits.

    Raises :class:`midigpt_core.errors.CorpusError` if a shard is damaged.
    """
    kind = f"{type(encoder).__module__}.{type(encoder).__qualname__}"
    rules = [_RULES_VERSION, asdict(limits), kind, encoder.to_config()]
    key = hashlib.sha256(json.dumps(rules, sort_keys=True, default=str).encode()).hexdigest()[:32]
    pieces = []
    counts: Counter[str] = Counter()
    for verdicts, first in zip(
        _verdicts(opened.files, key, encoder, limits), opened.corpus.piece_offsets, strict=False
    ):
        valid = np.flatnonzero(verdicts == Verdict.VALID.value)
        valid += first
        pieces.append(valid)
        # Start-up waits for this: bincount would first convert every byte to int64.
        for verdict in Verdict:
            if count := int(np.count_nonzero(verdicts == verdict.value)):
                counts[verdict.name.lower()] += count
    return EligiblePieces(pieces[0] if len(pieces) == 1 else np.concatenate(pieces), by_verdict(counts))


def by_verdict(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts of pieces in the order of :class:`Verdict`."""
    names = (verdict.name.lower() for verdict in Verdict)
    return {name: counts[name] for name in names if name in counts}


def require_nonempty(
    valid: EligiblePieces, opened: OpenCorpus, limits: SelectionLimits, *, has_min_bars: bool = True
) -> None:
    """Raise :class:`DataError` with the counts if there is nothing to train on.

    ``has_min_bars``: whether ``min_bars`` was chosen separately from the window sizes.
    """
    if len(valid.pieces):
        return
    files_named = ", ".join(dict.fromkeys(file.sidecar.source for file in opened.files))
    if not {*valid.counts} - {Verdict.NOT_PARSED.name.lower()}:
        rows: Counter[str] = Counter()
        for file in opened.files:
            rows.update(file.sidecar.counts)
        reasons = ", ".join(f"{reason} {count}" for reason, count in in_order(rows).items()) or "no rows"
        examples = any(file.sidecar.examples for file in opened.files)
        where = " 'midigpt corpus info' names rows." if examples else ""
        raise DataError(f"{files_named}: no row contains music that can be read ({reasons}).{where} Name other data.")
    counts = ", ".join(f"{reason} {count}" for reason, count in valid.counts.items())
    min_bars = f"min_bars {limits.min_bars}, " if has_min_bars else ""
    raise DataError(
        f"{files_named}: no piece can be used with this encoder and {min_bars}"
        f"min_tracks {limits.min_tracks}, num_bars_choices {list(limits.window_sizes)}, "
        f"min_fill_ratio {limits.min_fill_ratio} ({counts}). Lower these limits, or name other data."
    )


def judge(columns: ScoreColumns, status: UInt8Array, encoder: _Accepts, limits: SelectionLimits) -> UInt8Array:
    """uint8[P], the :class:`Verdict` on each piece. The pieces' tracks share their bars, as in every corpus."""
    tracks, bars = np.diff(columns.track_offsets), np.diff(columns.bar_offsets)
    tests = {
        Verdict.NO_WINDOW: ~_has_window(columns, limits),
        Verdict.UNSUPPORTED_SIGNATURE: _has_unsupported_signature(columns, encoder),
        Verdict.TOO_FEW_BARS: bars < limits.min_bars,
        Verdict.TOO_FEW_TRACKS: tracks < limits.min_tracks,
        Verdict.NOT_PARSED: status != KEPT,
    }
    verdicts = np.full(columns.num_pieces, Verdict.VALID, np.uint8)
    for verdict, applies in tests.items():
        verdicts[applies] = verdict
    return verdicts


def _has_unsupported_signature(columns: ScoreColumns, encoder: _Accepts) -> BoolArray:
    packed = columns.bar_numerator.astype(np.int64) << 32 | columns.bar_denominator
    starts = np.zeros(len(packed), np.bool_)
    # Signatures seldom change: look at the first bar of each run, and of each piece.
    starts[1:] = packed[1:] != packed[:-1]
    firsts = columns.bar_offsets[:-1]
    starts[firsts[firsts < len(packed)]] = True
    runs = np.flatnonzero(starts)
    signatures, which = np.unique(packed[runs], return_inverse=True)
    numerators, denominators = (signatures >> 32).astype(np.int32), (signatures & 0xFFFFFFFF).astype(np.int32)
    accepted = encoder.accepts_signatures(numerators, denominators)
    result = np.zeros(columns.num_pieces, np.bool_)
    if accepted is not None:
        refused = runs[~np.asarray(accepted)[which]]
        result[np.searchsorted(columns.bar_offsets, refused, side="right") - 1] = True
    return result


def _has_window(columns: ScoreColumns, limits: SelectionLimits) -> BoolArray:
    """bool per piece: whether there is a usable window, by the rule that windows are drawn by."""
    result = np.zeros(columns.num_pieces, np.bool_)
    _native.have_windows(
        columns,
        sizes=limits.window_sizes,
        min_fill_ratio=limits.min_fill_ratio,
        min_tracks=limits.min_tracks,
        out=result,
    )
    return result


class _Accepts(Protocol):
    """The only method of an encoder that is called here."""

    def accepts_signatures(self, numerators: Int32Array, denominators: Int32Array) -> BoolArray | None: ...


@frozen(eq=False)
class _OneAtATime:
    """Calls an encoder from one thread at a time, because encoders need not be thread-safe."""

    _encoder: Encoder
    _lock: threading.Lock = Factory(threading.Lock)

    def accepts_signatures(self, numerators: Int32Array, denominators: Int32Array) -> BoolArray | None:
        with self._lock:
            return self._encoder.accepts_signatures(numerators, denominators)


def _verdicts(shards: Sequence[ShardFile], key: str, encoder: Encoder, limits: SelectionLimits) -> Sequence[UInt8Array]:
    """The verdicts of each shard, from the file in its folder if there is one for ``key``."""
    paths = [shard.path.with_name(f"valid-{key}.bin") for shard in shards]
    stored = [recall(path, shard.shard.columns.num_pieces) for path, shard in zip(paths, shards, strict=True)]
    known = [None if content is None else np.frombuffer(content, np.uint8) for content in stored]
    if all(verdicts is not None for verdicts in known):
        return [verdicts for verdicts in known if verdicts is not None]
    one_at_a_time = _OneAtATime(encoder)

    def find(path: Path, shard: ShardFile, verdicts: UInt8Array | None) -> UInt8Array:
        if verdicts is None:
            shard.verify_columns([*level_columns("track"), *level_columns("bar"), *level_columns("cell")])
            verdicts = judge(shard.shard.columns, shard.shard.pieces.status, one_at_a_time, limits)
            shard.check_unlost()
            remember(path, verdicts.tobytes())
        return verdicts

    with ThreadPoolExecutor(min(available_cores(), len(shards)), thread_name_prefix="select") as pool:
        return list(pool.map(find, paths, shards, known))
