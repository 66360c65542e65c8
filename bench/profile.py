"""Profiles the processor time of our side of a group of figures, by library and function, and by Python function.

python -m bench.profile [GROUP...]

Needs Linux's ``perf``. Native functions have names if the package was installed with
``--config-settings=cmake.build-type=RelWithDebInfo``. docs/performance.md says what these tables show.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench import corpus
from bench.built import ready
from bench.encoding import encoding
from bench.preprocess import preprocess
from bench.reading import read
from bench.session import Session
from bench.start import start
from bench.stream import PRESET as STREAM_PRESET
from bench.stream import windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SECONDS = 8.0
_SAMPLES_PER_SECOND = 999
_MOST_LINES = 12
_LEAST_PERCENT = 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(WORK)}; all unless given")
    parser.add_argument("--folder", type=Path, default=corpus.FOLDER, help="where the bench's data is kept")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(WORK):
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(WORK)}")
    session = Session(repeats=1, folder=options.folder, baseline_python=None)
    for name in options.groups or WORK:
        work = WORK[name](session)
        work()
        print(f"\n## {name}\n")
        with tempfile.TemporaryDirectory() as folder:
            recording = Path(folder) / "perf.data"
            _record(work, recording)
            for line in [*_shares(recording, "dso"), "", *_shares(recording, "dso,sym")]:
                print(line)
        print("", *_python(work), sep="\n")


def _reading(session: Session) -> Callable[[], object]:
    data, offsets = corpus.buffers(corpus.pieces(session.folder))
    return lambda: read(data, offsets, 1)


def _encoding(session: Session) -> Callable[[], object]:
    return encoding(ready([corpus.pieces_path(session.folder)], session.folder), 1)


def _stream(session: Session) -> Callable[[], object]:
    return windows(ready([corpus.pieces_path(session.folder)], session.folder, STREAM_PRESET).stream_spec())


def _preprocess(session: Session) -> Callable[[], object]:
    return preprocess(session, corpus.shards("rows", 20_000, 2, folder=session.folder), 20_000)


def _start(session: Session) -> Callable[[], object]:
    shards = [corpus.pieces_path(session.folder)]
    return lambda: start(shards, session.folder)


#: Group -> what makes its work.
WORK: dict[str, Callable[[Session], Callable[[], object]]] = {
    "reading": _reading,
    "encoding": _encoding,
    "stream": _stream,
    "preprocess": _preprocess,
    "start": _start,
}


def _record(work: Callable[[], object], recording: Path) -> None:
    """Repeat the work for some seconds under perf, what it prepared before aside."""
    frequency, target = str(_SAMPLES_PER_SECOND), str(os.getpid())
    perf = subprocess.Popen(["perf", "record", "--quiet", "-F", frequency, "-o", recording, "-p", target])
    time.sleep(1)  # until it watches
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        work()
    perf.send_signal(signal.SIGINT)
    perf.wait()


def _shares(recording: Path, by: str) -> Iterator[str]:
    command = ["perf", "report", "--stdio", "-i", str(recording), "--no-children", "--sort", by, "-t", "|"]
    return table(subprocess.run(command, check=True, capture_output=True, text=True).stdout, by)


def table(report: str, by: str) -> Iterator[str]:
    """The largest shares of a report of perf that is separated by bars, as a table."""
    yield f"| % | {by.replace(',', ' | ').replace('dso', 'library').replace('sym', 'function')} |"
    yield "|---" * (1 + len(by.split(","))) + "|"
    lines = [line.split("|") for line in report.splitlines() if line.strip() and not line.startswith("#")]
    for share, *names in lines[:_MOST_LINES]:
        percent = share.strip().rstrip("%")
        if float(percent) >= _LEAST_PERCENT:
            yield f"| {percent} | {' | '.join(name.strip() for name in names)} |"


def _python(work: Callable[[], object]) -> Iterator[str]:
    """The functions of this process that take the most, what they call included."""
    profiler = cProfile.Profile()
    profiler.runcall(work)
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    yield "| % | % without what it calls | function in Python |"
    yield "|---|---|---|"
    by_time = sorted(stats.items(), key=lambda item: -item[1][3])
    for (file, line, function), (_, _, own, cumulative, _) in by_time[: 2 * _MOST_LINES]:
        where = f"{Path(file).parent.name}/{Path(file).name}:{line} {function}" if line else function
        yield f"| {100 * cumulative / total:.1f} | {100 * own / total:.1f} | {where} |"


if __name__ == "__main__":
    main()
