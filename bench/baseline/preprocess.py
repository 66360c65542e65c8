"""The baseline preprocesses shards from nothing: python preprocess.py ENCODER_JSON ROWS SHARD...

Seconds are those of a run with an empty cache less those of one with a full cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from serving import serve_turns

encoder, rows, *shards = sys.argv[1:]
cache = Path(os.environ["MIDIGPT_CACHE"]) / "preprocess"
command = [sys.executable, "-m", "midigpt.training.preprocess", "--encoder-config", encoder, "--parquet", *shards]


def seconds() -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=sys.stderr, env={**os.environ, "MIDIGPT_CACHE": str(cache)})
    return time.perf_counter() - started


def preprocess() -> tuple[float, float]:
    shutil.rmtree(cache, ignore_errors=True)
    cold = seconds()
    return cold - seconds(), int(rows)


serve_turns(preprocess)
