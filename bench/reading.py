"""Bytes to columns with bars, over the bench corpus, compared with the baseline, symusic and a bare event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import symusic

from bench import corpus
from bench.bare import event_loop
from bench.measure import one_thread, take_turns, wall
from bench.rows import BASELINE, Row, ratio_at_least
from bench.twins import Twins
from midigpt_core.score.reading import read_batch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.session import Session
    from midigpt_core.records import Int64Array, UInt8Array

#: Files of one call: the chunk in which the corpus builder parses.
_CALL = 32
#: Files of a call on two threads, and on one thread for comparison. In calls of 256, a batch of the source, starting
#: threads and joining columns takes a tenth of the time (docs/performance.md).
_CALL_OF_TWO = 1024
#: The baseline reads every n-th file, which takes it some seconds.
_BASELINE_STEP = 24


def read(data: UInt8Array, offsets: Int64Array, threads: int, call: int = _CALL) -> float:
    """Read all files, ``call`` at a time; returns their bytes."""
    for first in range(0, len(offsets) - 1, call):
        some = offsets[first : first + call + 1]
        read_batch(data[some[0] : some[-1]].data, some - some[0], threads)
    return len(data)


def rows(session: Session) -> Iterator[Row]:
    table = corpus.pieces(session.folder)
    data, offsets = corpus.buffers(table)
    files = table.column("music").to_pylist()

    def theirs() -> float:
        for file in files:
            symusic.Score.from_midi(file)
        return len(data)

    loop = event_loop(session.folder, data, offsets)

    def bare() -> float:
        loop()
        return len(data)

    with session.baseline("reading.py", corpus.pieces_path(session.folder), _BASELINE_STEP) as baseline:
        one = take_turns(
            {
                "ours": one_thread(lambda: read(data, offsets, 1)),
                "symusic": one_thread(theirs),
                "bare": one_thread(bare),
                "baseline": baseline,
            },
            session.repeats,
        )

    def alone() -> float:
        return read(data, offsets, 1, _CALL_OF_TWO)

    alone()
    with Twins(alone) as twins:
        threads = take_turns(
            {"two": wall(lambda: read(data, offsets, 2, _CALL_OF_TWO)), "one": wall(alone), "twins": twins},
            session.repeats,
        )
    to_files, to_megabytes = len(files) / len(data), 1e-6
    baseline_rate = one["baseline"].scaled(to_files) if "baseline" in one else None
    yield Row.of(
        "bytes to columns with bars",
        "files/s",
        one["ours"].scaled(to_files),
        baseline_rate,
        against=BASELINE,
        required=ratio_at_least(200),
        how=f"{len(files)} files of the bench corpus; the baseline every {_BASELINE_STEP}th with Score.from_bytes. "
        f"Counted in bytes and stated in files of the mean size, {len(data) / len(files) / 1e3:.1f} kB",
    )
    yield Row.of(
        "bytes to columns with bars, compared with a plain parse",
        "MB/s",
        one["ours"].scaled(to_megabytes),
        one["symusic"].scaled(to_megabytes),
        against="symusic",
        required=ratio_at_least(2),
        how="the same bytes; symusic.Score.from_midi file by file",
    )
    yield Row.of(
        "bytes to columns with bars, compared with a bare event loop",
        "MB/s",
        one["ours"].scaled(to_megabytes),
        one["bare"].scaled(to_megabytes),
        against="event_loop.c",
        how="the same bytes; a loop in C over the events that pairs notes and does nothing else: no limits, no tracks, "
        "no bars, no columns",
    )
    yield Row.of(
        "bytes to columns with bars, two threads",
        "MB/s",
        threads["two"].scaled(to_megabytes),
        threads["one"].scaled(to_megabytes),
        against="one thread",
        required=ratio_at_least(1.8),
        how=f"batches of {_CALL_OF_TWO} files; seconds on the clock",
    )
    yield Row.of(
        "bytes to columns with bars, two processes",
        "MB/s",
        threads["twins"].scaled(to_megabytes),
        threads["one"].scaled(to_megabytes),
        against="one process",
        how="as above, but two processes that share nothing: what the two cores give at most",
    )
