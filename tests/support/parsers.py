"""Parsers with faults, for the seam of ``build(…, parser=…)``. They run in the parser's process."""

from __future__ import annotations

import itertools
import os
import signal
import site
import time
from typing import Any

# The parser's process starts without site-packages hooks, and an editable install is one.
site.main()

from midigpt_core import _native  # noqa: E402

SEGFAULT = b"!segfault"
HANG = b"!hang"
MEMORY = b"!memory"
EXIT = b"!exit"
RAISE = b"!raise"


def faulty(data: memoryview, offsets: memoryview, threads: int) -> Any:
    """The real reader, but rows that consist of one of the marks do what the mark says."""
    content = bytes(data)
    hoard = []
    for start, end in itertools.pairwise(offsets):
        match content[start:end]:
            case b"!segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case b"!hang":
                time.sleep(600)
            case b"!memory":
                while True:
                    hoard.append(bytes(64 << 20))
            case b"!exit":
                os._exit(3)
            case b"!raise":
                raise ValueError("a bug")
    return _native.read_batch(data, offsets, threads)


def slow(data: memoryview, offsets: memoryview, threads: int) -> Any:
    """The real reader, slow enough to be killed in the middle."""
    time.sleep(0.01)
    return _native.read_batch(data, offsets, threads)


def none(data: memoryview, offsets: memoryview, threads: int) -> Any:
    """A parser that must not be called."""
    raise AssertionError("nothing was left to parse")


def chatty(data: memoryview, offsets: memoryview, threads: int) -> Any:
    """The real reader, which prints."""
    os.write(1, b"not an answer\n")
    return _native.read_batch(data, offsets, threads)
