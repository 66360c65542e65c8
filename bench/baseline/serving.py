"""The loop at the end of every baseline script: does the work for each line of input and answers seconds and amount.

Import it before anything is made: from then on everything that the package prints goes to stderr, and stdout is for
answers.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def serve(work: Callable[[], float]) -> None:
    """``work`` returns how much it did; it is timed in processor seconds of this process."""

    def turn() -> tuple[float, float]:
        started = time.process_time()
        done = work()
        return time.process_time() - started, done

    serve_turns(turn)


def serve_turns(turn: Callable[[], tuple[float, float]]) -> None:
    """``turn`` returns the seconds it took, by whichever clock, and how much it did."""
    for _ in sys.stdin:
        seconds, done = turn()
        _ANSWERS.write(json.dumps({"seconds": seconds, "work": done}) + "\n")
        _ANSWERS.flush()
