"""Timing: contenders take turns, and a figure is the median of its turns.

On a shared machine the load of the moment is larger than most differences. Two figures taken in turn see the same load,
so it is their ratio that counts; and work on one thread is timed in processor seconds, which others' load hardly
touches. On an idle machine these are the seconds on the clock.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    #: Does a piece of work once; returns how much of it there was, in the unit that is counted.
    Work = Callable[[], float]


@frozen
class Turn:
    """One run of a contender."""

    seconds: float
    #: How much was done, in the unit that is counted.
    work: float


@frozen
class Measured:
    """The figures of all turns of one contender, work per second unless scaled."""

    samples: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    def scaled(self, factor: float) -> Measured:
        """The same in another unit."""
        return Measured([sample * factor for sample in self.samples])


def one_thread(work: Work) -> Callable[[], Turn]:
    """A contender that works on one thread of this process: processor seconds."""
    return _timed(work, time.process_time)


def wall(work: Work) -> Callable[[], Turn]:
    """A contender that may use threads and processes: seconds on the clock."""
    return _timed(work, time.perf_counter)


def _timed(work: Work, clock: Callable[[], float]) -> Callable[[], Turn]:
    def turn() -> Turn:
        started = clock()
        done = work()
        return Turn(clock() - started, done)

    return turn


def take_turns(contenders: Mapping[str, Callable[[], Turn] | None], repeats: int) -> dict[str, Measured]:
    """Run the contenders ``repeats`` times in turn; those that are None (no baseline here) are left out.

    A round before the first warms caches and is not counted.
    """
    present = {name: run for name, run in contenders.items() if run is not None}
    rates: dict[str, list[float]] = {name: [] for name in present}
    for counted in range(-1, repeats):
        for name, run in present.items():
            turn = run()
            if counted >= 0:
                rates[name].append(turn.work / turn.seconds)
    return {name: Measured(values) for name, values in rates.items()}
