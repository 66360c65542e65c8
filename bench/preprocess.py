"""Preprocessing from nothing, as the command that users run; and the memory and the bytes on disk that it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from bench import corpus
from bench.built import PRESET, ready
from bench.measure import Measured, Turn, take_turns
from bench.memory import peak_bytes
from bench.rows import BASELINE, Row, ratio_at_least, ratio_at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bench.session import Session

_ROWS = 20_000
_SHARDS = 2
_HOSTILE = 0.01
#: The baseline takes minutes over each thousand rows.
_BASELINE_ROWS = 500
_REPEATS = 3
#: Rows of the two shards whose peaks of memory are compared.
_SMALL_SHARD, _LARGE_SHARD = 2_000, 20_000


def rows(session: Session) -> Iterator[Row]:
    clean = corpus.shards("rows", _ROWS, _SHARDS, folder=session.folder)
    hostile = corpus.shards("hostile", _ROWS, _SHARDS, hostile=_HOSTILE, folder=session.folder)
    few = corpus.shards("few", _BASELINE_ROWS, _SHARDS, folder=session.folder)
    repeats = min(session.repeats, _REPEATS)
    with session.baseline("preprocess.py", session.preset(PRESET), _BASELINE_ROWS, *few) as baseline:
        sides = {
            "ours": preprocess(session, clean, _ROWS),
            "hostile": preprocess(session, hostile, _ROWS),
            "baseline": baseline,
        }
        measured = take_turns(sides, repeats)
    how = f"midigpt preprocess, {_ROWS:,} rows of the bench corpus in {_SHARDS} shards, an empty cache"
    yield Row.of(
        "preprocess, two cores",
        "rows/s",
        measured["ours"],
        measured.get("baseline"),
        against=BASELINE,
        required=ratio_at_least(150),
        how=f"{how}; the baseline's with its default of one worker on {_BASELINE_ROWS} such rows; each side less its "
        "own run with a full cache; seconds on the clock",
    )
    yield Row.of(
        f"preprocess, {_HOSTILE:.0%} hostile rows",
        "times the time",
        Measured(
            [clean / bad for clean, bad in zip(measured["ours"].samples, measured["hostile"].samples, strict=True)]
        ),
        Measured([1.0] * repeats),
        against="clean rows",
        required=ratio_at_most(1.3),
        how="the same command with every hundredth file cut in half, filled with noise or with giant lengths",
    )
    yield _on_disk(session, clean)
    yield _peak(session)


def preprocess(session: Session, shards: list[Path], count: int) -> Callable[[], Turn]:
    """Cold less warm: what is left is the reading, parsing and writing of rows."""
    cache = session.folder / "preprocess-cache"

    def turn() -> Turn:
        shutil.rmtree(cache, ignore_errors=True)
        cold = _seconds(shards, cache)
        return Turn(cold - _seconds(shards, cache), count)

    return turn


def _seconds(shards: list[Path], cache: Path) -> float:
    started = time.perf_counter()
    subprocess.run(_command(shards), check=True, stdout=subprocess.DEVNULL, env=_environment(cache))
    return time.perf_counter() - started


def _command(shards: list[Path]) -> list[str]:
    command = [sys.executable, "-m", "midigpt.training.preprocess", "--encoder-config", PRESET, "--parquet"]
    return [*command, *map(str, shards)]


def _environment(cache: Path) -> dict[str, str]:
    return os.environ | {"MIDIGPT_CACHE": str(cache)}


def _on_disk(session: Session, shards: list[Path]) -> Row:
    data = ready(shards, session.folder)
    notes = sum(file.sidecar.totals.notes for file in data.opened.files)
    size = sum(one.stat().st_size for path in data.opened.shard_paths for one in path.parent.iterdir())
    return Row(
        name="corpus on disk",
        unit="bytes/note",
        ours=size / notes,
        theirs=sum(path.stat().st_size for path in shards) / notes,
        against="its parquet",
        how=f"{size / 1e6:.0f} MB for {notes:,} notes in {_ROWS:,} rows, index and checksums included",
    )


def _peak(session: Session) -> Row:
    """One shard at a time, so that it is one shard's memory."""
    cache = session.folder / "preprocess-cache"
    peaks = {}
    for count in (_SMALL_SHARD, _LARGE_SHARD):
        shutil.rmtree(cache, ignore_errors=True)
        shards = corpus.shards("one", count, 1, folder=session.folder)
        peaks[count] = peak_bytes(_command(shards), _environment(cache)) / 1e6
    return Row(
        name="preprocess, peak memory, a shard ten times larger",
        unit="MB",
        ours=peaks[_LARGE_SHARD],
        theirs=peaks[_SMALL_SHARD],
        against=f"a shard of {_SMALL_SHARD:,} rows",
        required=ratio_at_most(1.25),
        how=f"the command and its parser process over one shard of {_LARGE_SHARD:,} rows in row groups of "
        f"{corpus.ROW_GROUP:,}; mapped files aside, looked at every 20 ms",
    )
