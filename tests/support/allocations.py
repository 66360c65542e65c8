"""A program that reads MIDI files while the C allocator counts: count_allocations.c must be preloaded.

python -m support.allocations whole < FILE    reads it; prints how that ended and what it took, as JSON
python -m support.allocations cuts < FILE     the same for the file cut off after every byte, and the worst of these
"""

from __future__ import annotations

import array
import ctypes
import json
import sys
import time
from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from midigpt_core._native import read_batch, read_errors

from .malicious_midi import cuts, cuts_within_a_track

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NAMES = {code: name for code, name, _ in read_errors()}
_ALLOCATOR = ctypes.CDLL(None)
_ALLOCATOR.allocations_most.restype = ctypes.c_long
_ALLOCATOR.allocations_total.restype = ctypes.c_long
#: Files of a batch: their bounds are those of one of them, the smallest.
_BATCH = 64


class Reading(NamedTuple):
    """One call."""

    statuses: list[str]
    #: Processor time: what others do on the machine does not count.
    seconds: float
    #: Bytes allocated inside the call, whether freed again or not; and the most that were held at once.
    allocated: int
    held: int
    #: Bytes of the columns that came out: a counter that misses them counts nothing.
    columns: int


def read(contents: Sequence[bytes]) -> Reading:
    data = b"".join(contents)
    offsets = array.array("q", [0])
    for content in contents:
        offsets.append(offsets[-1] + len(content))
    _ALLOCATOR.allocations_start()
    start = time.thread_time()
    buffers = read_batch(data, offsets)
    seconds = time.thread_time() - start
    _ALLOCATOR.allocations_stop()
    return Reading(
        statuses=[_NAMES[status] for status in bytes(buffers["status"])],
        seconds=seconds,
        allocated=_ALLOCATOR.allocations_total(),
        held=_ALLOCATOR.allocations_most(),
        columns=sum(memoryview(buffer).nbytes for buffer in buffers.values()),
    )


def bound_bytes(size: int) -> int:
    """What reading a file of ``size`` bytes may allocate (docs/limits.md)."""
    return (64 << 20) + 40 * size


def bound_seconds(size: int) -> float:
    return 0.02 + size / 1e6


def _batches(contents: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := list(islice(contents, _BATCH)):
        yield batch


def _whole(content: bytes) -> dict[str, object]:
    reading = read([content])
    return {
        **reading._asdict(),
        "share_of_bytes": reading.allocated / bound_bytes(len(content)),
        "share_of_seconds": reading.seconds / bound_seconds(len(content)),
    }


def _cuts(content: bytes) -> dict[str, object]:
    endings = {"file": Counter[str](), "track": Counter[str]()}
    share_of_bytes = share_of_seconds = 0.0
    whole = (("file", batch) for batch in _batches(cuts(content)))
    tracks = (("track", batch) for batch in _batches(cuts_within_a_track(content)))
    for what, batch in chain(whole, tracks):
        reading = read(batch)
        endings[what].update(reading.statuses)
        smallest = min(map(len, batch))
        share_of_bytes = max(share_of_bytes, reading.allocated / bound_bytes(smallest))
        share_of_seconds = max(share_of_seconds, reading.seconds / bound_seconds(smallest))
    return {
        "endings": endings,
        "share_of_bytes": share_of_bytes,
        "share_of_seconds": share_of_seconds,
    }


if __name__ == "__main__":
    work = {"whole": _whole, "cuts": _cuts}[sys.argv[1]]
    sys.stdout.write(json.dumps(work(sys.stdin.buffer.read())))
