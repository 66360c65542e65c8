"""From the command to a token stream when the corpus is there: what a second start waits for, imports excluded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench import corpus
from bench.built import PRESET, ready
from bench.measure import Measured, take_turns, wall
from bench.rows import BASELINE, Row, at_most, ratio_at_most

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from bench.session import Session

_FEW, _MANY = 5_000, 500_000
#: Small pieces: what a start costs does not depend on their music.
_NOTES = 12
_DISTINCT = 1_000
_BASELINE_STEP = 8


def start(shards: Sequence[Path], folder: Path) -> float:
    """One start."""
    ready(shards, folder).stream_spec().open()
    return 1.0


def rows(session: Session) -> Iterator[Row]:
    few, many = _shard(session, _FEW), _shard(session, _MANY)

    pieces = corpus.pieces_path(session.folder)
    with session.baseline("start.py", pieces, session.preset(PRESET), _BASELINE_STEP) as baseline:
        measured = take_turns(
            {
                "few": wall(lambda: start([few], session.folder)),
                "many": wall(lambda: start([many], session.folder)),
                "baseline": baseline,
            },
            session.repeats,
        )
    milliseconds = {name: Measured([1e3 / rate for rate in one.samples]) for name, one in measured.items()}
    what = "finding the corpus by the source's fingerprint, opening it, its eligible pieces, encoder, token stream"
    yield Row.of(
        f"start from cache, {_FEW:,} pieces",
        "ms",
        milliseconds["few"],
        milliseconds.get("baseline"),
        against=f"{BASELINE}, 500 pieces",
        required=at_most(50),
        how=f"{what}; the baseline's MidiGPTDataset over every {_BASELINE_STEP}th piece from its index",
    )
    yield Row.of(
        f"start from cache, {_MANY:,} pieces",
        "ms",
        milliseconds["many"],
        milliseconds["few"],
        against=f"{_FEW:,} pieces",
        required=at_most(50),
        how="as above",
    )
    yield Row.of(
        "start from cache, pieces a hundred times as many",
        "ms",
        milliseconds["many"],
        milliseconds["few"],
        against=f"{_FEW:,} pieces",
        required=ratio_at_most(1.5),
        how="the two rows above",
    )


def _shard(session: Session, count: int) -> Path:
    path = session.folder / f"start-{corpus.VERSION}-{count}.parquet"
    if not path.exists():
        files = [corpus.generate(number, _NOTES, 1) for number in range(_DISTINCT)]
        table = corpus.table(files)
        corpus.write_parquet(path, table.take([number % _DISTINCT for number in range(count)]))
    ready([path], session.folder)
    return path
