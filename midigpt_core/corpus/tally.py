"""Counts the rows that a build keeps and, by reason, the rows that it drops."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from attrs import Factory, define

from midigpt_core.corpus.format import Totals
from midigpt_core.corpus.origins import identity_of, row_text
from midigpt_core.corpus.status import KEPT, in_order, status_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from midigpt_core.records import Int64Array, PieceTable, ScoreColumns

#: How many rows a report names for each reason.
MAX_EXAMPLES = 3


@define
class Tally:
    """Rows by reason, examples, and totals of the music, over the batches of a shard."""

    counts: Counter[str] = Factory(Counter)
    examples: dict[str, list[str]] = Factory(dict)
    _sizes: Counter[str] = Factory(Counter)
    _programs: Counter[str] = Factory(Counter)
    _signatures: Counter[str] = Factory(Counter)

    def add(self, columns: ScoreColumns, pieces: PieceTable, error_offset: Int64Array) -> None:
        """``error_offset`` int64[P]: byte at which the reader gave up on a file, -1 if it did not."""
        codes, numbers = np.unique(pieces.status, return_counts=True)
        for code, number in zip(codes.tolist(), numbers.tolist(), strict=True):
            name = status_name(code)
            self.counts[name] += number
            if code != KEPT:
                self._add_examples(name, np.flatnonzero(pieces.status == code), pieces, error_offset)
        self._sizes.update(
            pieces=len(pieces.status),
            tracks=len(columns.track_program),
            bars=len(columns.bar_length),
            notes=len(columns.note_onset),
        )
        self._programs.update(_count_programs(columns))
        self._signatures.update(_count_signatures(columns))

    def add_dropped(self, dropped: Mapping[str, int], named: Mapping[str, Sequence[tuple[int, str]]]) -> None:
        """Rows that the source dropped: how many, and number and name of a few of them."""
        self.counts.update(dropped)
        for reason, rows in named.items():
            examples = self.examples.setdefault(reason, [])
            examples += [row_text(row, identity) for row, identity in rows[: MAX_EXAMPLES - len(examples)]]

    def totals(self) -> Totals:
        return Totals(**self._sizes, programs=dict(self._programs), signatures=dict(self._signatures))

    def _add_examples(self, name: str, indices: Int64Array, pieces: PieceTable, error_offset: Int64Array) -> None:
        examples = self.examples.setdefault(name, [])
        for index in indices[: MAX_EXAMPLES - len(examples)].tolist():
            at = f", byte {error_offset[index]}" if error_offset[index] >= 0 else ""
            examples.append(row_text(int(pieces.row[index]), identity_of(pieces, index)) + at)


def merge_examples(shards: Iterable[tuple[str, Mapping[str, list[str]]]]) -> dict[str, list[str]]:
    """The first few examples for each reason over several shards (source, examples), each with its file."""
    merged: dict[str, list[str]] = {}
    for source, examples in shards:
        for reason, rows in examples.items():
            listed = merged.setdefault(reason, [])
            listed += [f"{source}: {row}" for row in rows[: MAX_EXAMPLES - len(listed)]]
    return in_order(merged)


def _count_programs(columns: ScoreColumns) -> dict[str, int]:
    is_drum = columns.track_drum != 0
    melodic = np.bincount(columns.track_program[~is_drum])
    counts = {str(program): int(melodic[program]) for program in np.flatnonzero(melodic)}
    return {**counts, "drums": int(is_drum.sum())} if is_drum.any() else counts


def _count_signatures(columns: ScoreColumns) -> dict[str, int]:
    """Bars by signature. Signatures seldom change, so runs are counted, not bars."""
    numerators, denominators = columns.bar_numerator, columns.bar_denominator
    if len(numerators) == 0:
        return {}
    changes = (numerators[1:] != numerators[:-1]) | (denominators[1:] != denominators[:-1])
    starts = np.concatenate([[0], np.flatnonzero(changes) + 1])
    lengths = np.diff(starts, append=len(numerators))
    packed = numerators[starts].astype(np.int64) << 32 | denominators[starts]
    values, inverse = np.unique(packed, return_inverse=True)
    bars = np.bincount(inverse, weights=lengths).astype(np.int64)
    return {
        f"{value >> 32}/{value & 0xFFFFFFFF}": count
        for value, count in zip(values.tolist(), bars.tolist(), strict=True)
    }
