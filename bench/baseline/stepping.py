"""The end of a training script: takes some optimiser steps for each line of input, and answers with a turn.

Like :mod:`serving`, for a loop that is not ours to call: the loop calls the gate at the beginning of every step.
"""

from __future__ import annotations

import json
import os
import sys
import time


class Gate:
    """Opens for ``steps`` steps at a time. A turn lasts from the beginning of its first step to the beginning of the
    step after its last: optimiser, loop and the loading of data included.

    On one thread it counts processor seconds, else seconds on the clock."""

    def __init__(self, steps: int, threads: int) -> None:
        self._steps = steps
        self._now = time.process_time if threads == 1 else time.perf_counter
        self._left = 0
        self._work = 0
        self._started: float | None = None
        self._answers = os.fdopen(os.dup(1), "w")
        # What the loop prints goes to stderr.
        os.dup2(2, 1)

    def __call__(self, tokens: int) -> None:
        """A step with so many real tokens begins."""
        if self._left == 0:
            self._finish_turn()
            if not sys.stdin.readline():
                # The loop has no end of its own; nothing that it would write is wanted.
                os._exit(0)
            self._started, self._work, self._left = self._now(), 0, self._steps
        self._left -= 1
        self._work += tokens

    def _finish_turn(self) -> None:
        if self._started is not None:
            seconds = self._now() - self._started
            self._answers.write(json.dumps({"seconds": seconds, "work": self._work}) + "\n")
            self._answers.flush()
