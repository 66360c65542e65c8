"""What every peer script ends in: do the work each time a line arrives, and answer with seconds and amount."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def serve(work: Callable[[], float], clock: Callable[[], float] = time.process_time) -> None:
    """``work`` returns how much it did. ``clock``: ``time.perf_counter`` if it uses threads or processes.

    What the package prints goes to stderr.
    """
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for _ in sys.stdin:
            started = clock()
            done = work()
            answers.write(json.dumps({"seconds": clock() - started, "work": done}) + "\n")
            answers.flush()
