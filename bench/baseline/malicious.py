"""Reads the MIDI file on standard input, whole or cut off, with the Score of a module while the C allocator counts.

    LD_PRELOAD=count_allocations.so python malicious.py MODULE BYTES [STEP]

BYTES is the most memory that the process may have. With STEP the file is read cut off after every STEP-th byte. Prints
how it ended, the least seconds of one reading and the most memory that one held, as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import time
from importlib import import_module

_REPEATS = 3
_ENOUGH_SECONDS = 1.0

allocator = ctypes.CDLL(None)
allocator.allocations_most.restype = ctypes.c_long
module, most_bytes = sys.argv[1], int(sys.argv[2])
step = int(sys.argv[3]) if len(sys.argv) > 3 else 0
score = import_module(module).Score
content = sys.stdin.buffer.read()
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a package prints
resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def read(file: bytes) -> tuple[str, float, int]:
    allocator.allocations_start()
    start = time.process_time()
    try:
        score.from_bytes(file)
        ending = "read"
    except MemoryError:
        ending = f"needs more than {most_bytes >> 30} GB"
    except Exception:  # noqa: BLE001 - whatever the package raises is how it says no
        ending = "refused"
    seconds = time.process_time() - start
    allocator.allocations_stop()
    return ending, seconds, allocator.allocations_most()


if step:
    readings = [read(content[:size]) for size in range(0, len(content), step)]
    seconds = max(seconds for _, seconds, _ in readings)
else:
    readings = [read(content)]
    while len(readings) < _REPEATS and sum(seconds for _, seconds, _ in readings) < _ENOUGH_SECONDS:
        readings.append(read(content))
    seconds = min(seconds for _, seconds, _ in readings)
endings = sorted({ending for ending, _, _ in readings})
json.dump({"endings": endings, "seconds": seconds, "bytes": max(held for _, _, held in readings)}, answers)
