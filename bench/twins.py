"""Two processes that do the same work at once and share nothing: what two cores give at most to this work, here."""

from __future__ import annotations

import time
from multiprocessing import get_context
from typing import TYPE_CHECKING

from bench.measure import Turn

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType
    from typing import Self

    from bench.measure import Work


class Twins:
    """``work`` in two forks of this process; calling it is a turn, seconds on the clock. Use as a context.

    ``work`` must use one thread and must have been done before: threads do not survive a fork.
    """

    def __init__(self, work: Work) -> None:
        context = get_context("fork")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(2):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(work, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.terminate()
            process.join()

    def __call__(self) -> Turn:
        """Both work once; raises EOFError if one of them ended."""
        started = time.perf_counter()
        for pipe in self._pipes:
            pipe.send(None)
        done = sum(pipe.recv() for pipe in self._pipes)
        return Turn(time.perf_counter() - started, done)


def _serve(work: Work, pipe: Connection) -> None:
    while True:
        pipe.recv()
        pipe.send(work())
