"""Time and memory of looking for copies among pieces, for 1, 10 and 100 times 20,000 pieces, a third of them copies.

python -m bench.duplicates           # processor seconds; table in docs/commands.md
"""

from __future__ import annotations

import multiprocessing
import resource
import time

import numpy as np

from midigpt_core.corpus.duplicates import find_copies, shared_music
from midigpt_core.score.similarity import SKETCH_SIZE, MusicKeys

_PIECES = 20_000
_SIZES = (1, 10, 100)
#: One piece in so many is a copy of another one; one in so many is evaluated on.
_COPIES, _EVALUATED = 3, 8


def main() -> None:
    print("| pieces | copies | found in | most memory, keys included | evaluation pieces looked up in |")
    print("|---|---|---|---|---|", flush=True)
    for times in _SIZES:
        # A process of its own, in which nothing else allocates.
        child = multiprocessing.get_context("spawn").Process(target=_measure, args=(times * _PIECES,))
        child.start()
        child.join()


def keys(pieces: int) -> tuple[MusicKeys, np.ndarray[tuple[int, int], np.dtype[np.uint64]]]:
    """Keys as random as those of different music, and content hashes. Copies have three values of their sketch changed
    and the others of an earlier piece."""
    draw = np.random.default_rng(1)
    made = MusicKeys.of(pieces)
    made.exact[:] = draw.integers(1, 2**64, pieces, np.uint64)
    made.bars[:] = draw.integers(16, 500, pieces)
    made.sketch[:] = draw.integers(0, 2**32, (pieces, SKETCH_SIZE), np.uint32)
    copies = np.arange(1, pieces, _COPIES)
    made.sketch[copies, : SKETCH_SIZE - 3] = made.sketch[copies // 2, : SKETCH_SIZE - 3]
    return made, draw.integers(0, 2**64, (pieces, 2), np.uint64)


def _measure(pieces: int) -> None:
    made, hashes = keys(pieces)
    begin = time.process_time()
    found = np.count_nonzero(find_copies(made, hashes, made.bars * 20, np.arange(pieces)))
    seconds = time.process_time() - begin
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    evaluated = made.of_pieces(np.arange(0, pieces, _EVALUATED))
    begin = time.process_time()
    shared_music(evaluated, made)
    asked = time.process_time() - begin
    print(f"| {pieces:,} | {found:,} | {seconds:.2f} s | {most:,.0f} MB | {asked:.2f} s |", flush=True)


if __name__ == "__main__":
    main()
