"""The baseline reads every STEP-th file of a parquet file: python reading.py PIECES STEP"""

from __future__ import annotations

import sys

import pyarrow.parquet as pq
from midigpt import Score
from serving import serve

files = pq.read_table(sys.argv[1], columns=["music"]).column("music").to_pylist()[:: int(sys.argv[2])]


def read() -> float:
    """Bytes read."""
    for file in files:
        Score.from_bytes(file)
    return sum(map(len, files))


serve(read)
