"""Threads next to busy processes: two of torch's in training, as midigpt_core has them wait and by default, and one;
two and one that read tokens for generation."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from bench.baseline_process import TurnProcess
from bench.generation import random_bundle
from bench.measure import take_turns
from bench.rows import Row, ratio_at_least
from midigpt_core.openmp import WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.session import Session

_STEPS = 3
_BUSY = (0, 1, 2)
#: Of the model that generates.
_SIZE = "default"
#: As many threads as busy processes leave no processor free for.
_THREADS = 2
#: GNU's default, written out: the variables of this process would otherwise be inherited.
_DEFAULT = {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}
_SPIN = "import os, sys\nos.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"


def rows(session: Session) -> Iterator[Row]:
    processors = sorted(os.sched_getaffinity(0))[:_THREADS]
    with contextlib.ExitStack() as running:
        sides = {
            name: running.enter_context(_side(session, threads, waiting))
            for name, threads, waiting in (
                ("ours", _THREADS, WAITING),
                ("default", _THREADS, _DEFAULT),
                ("one", 1, _DEFAULT),
            )
        }
        bundle = random_bundle(session.folder, _SIZE)
        sides |= {
            name: running.enter_context(_side(session, threads, WAITING, bundle))
            for name, threads in (("reads", _THREADS), ("reads with one", 1))
        }
        for busy in _BUSY:
            with _busy(busy, processors):
                measured = take_turns(sides, session.repeats)
            load = f"next to {busy} busy processes" if busy else "on a quiet machine"
            how = (
                f"128/4/4, 4 rows of 512, muon, {_STEPS} steps a turn, seconds on the clock; each busy process is "
                "bound to a processor and has the same priority"
            )
            yield Row.of(
                f"training with {_THREADS} threads, {load}",
                "steps/s",
                measured["ours"],
                measured["one"],
                against="one thread",
                required=ratio_at_least(0.9),
                how=how,
            )
            yield Row.of(
                f"the same with OpenMP's default, {load}",
                "steps/s",
                measured["default"],
                measured["one"],
                against="one thread",
                how=how,
            )
            yield Row.of(
                f"generation with {_THREADS} threads, {load}",
                "steps/s",
                measured["reads"],
                measured["reads with one"],
                against="one thread",
                required=ratio_at_least(0.9),
                how="512/6/8 with random weights in float32; a step reads 256 tokens together and 32 one by one",
            )


def _side(session: Session, threads: int, waiting: dict[str, str], *bundle: Path) -> TurnProcess:
    command: list[str | Path] = [sys.executable, "-m", "bench.threads_process", str(threads), str(_STEPS), *bundle]
    return TurnProcess("bench/threads_process.py", command, cache=session.folder / "cache", variables=waiting)


@contextlib.contextmanager
def _busy(count: int, processors: list[int]) -> Iterator[None]:
    """So many processes that compute, each bound to one of ``processors``."""
    spinning = [
        subprocess.Popen([sys.executable, "-c", _SPIN, str(processors[index % len(processors)])])
        for index in range(count)
    ]
    try:
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()
