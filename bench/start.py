"""What a start waits for: a token stream when the corpus is there, imports excluded; and plugins that are installed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from typing import TYPE_CHECKING

from bench import corpus
from bench.built import PRESET, ready
from bench.installed import install_examples
from bench.measure import Measured, Turn, take_turns, wall
from bench.rows import BASELINE, Row, at_most, ratio_at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bench.session import Session

_FEW, _MANY = 5_000, 500_000
#: Small pieces: what a start costs does not depend on their music.
_NOTES = 12
_DISTINCT = 1_000
_BASELINE_STEP = 8
#: Commands that a user waits for, and how often each runs in a turn.
_COMMANDS = (("--help",), ("plugins", "list"), ("train", "--help"))
_RUNS = 5


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
    yield from _with_plugins(session)


def _with_plugins(session: Session) -> Iterator[Row]:
    """Commands with every example installed, and without them."""
    folder = session.folder / "installed-examples"
    names = install_examples(folder)
    for command in _COMMANDS:
        measured = take_turns(
            {"with": _runs(command, folder), "without": _runs(command, None)},
            session.repeats,
        )
        milliseconds = {name: Measured([1e3 / rate for rate in one.samples]) for name, one in measured.items()}
        yield Row.of(
            f"midigpt {' '.join(command)}, {len(names)} distributions of plugins installed",
            "ms",
            milliseconds["with"],
            milliseconds["without"],
            against="none of them",
            required=ratio_at_most(1.1),
            how=f"processor time of {_RUNS} runs in a process each, one after the other; the examples as an installer "
            "leaves them",
        )


def _runs(command: Sequence[str], installed: Path | None) -> Callable[[], Turn]:
    """A contender that runs ``midigpt`` with these arguments, and what is ``installed`` on the search path."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MIDIGPT_", "PYTHON"))}
    environment = kept | ({} if installed is None else {"PYTHONPATH": str(installed)})

    def turn() -> Turn:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(_RUNS):
            subprocess.run(
                [sys.executable, "-m", "midigpt", *command], env=environment, stdout=subprocess.DEVNULL, check=True
            )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Turn(seconds, float(_RUNS))

    return turn


def _shard(session: Session, count: int) -> Path:
    path = session.folder / f"start-{corpus.VERSION}-{count}.parquet"
    if not path.exists():
        files = [corpus.generate(number, _NOTES, 1) for number in range(_DISTINCT)]
        table = corpus.table(files)
        corpus.write_parquet(path, table.take([number % _DISTINCT for number in range(count)]))
    ready([path], session.folder)
    return path
