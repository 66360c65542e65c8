"""The baseline opens its data set from its index: python start.py PIECES ENCODER_JSON STEP"""

from __future__ import annotations

import sys
import time

from samples import open_dataset
from serving import serve_turns

pieces, encoder, step = sys.argv[1:]
open_dataset(pieces, encoder, int(step))


def start() -> tuple[float, float]:
    started = time.perf_counter()
    open_dataset(pieces, encoder, int(step))
    return time.perf_counter() - started, 1.0


serve_turns(start)
