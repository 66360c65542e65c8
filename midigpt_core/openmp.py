"""How many threads torch starts on the CPU and how they wait for each other, settled before torch is loaded.

torch's threads are OpenMP's. Between two pieces of work they spin, by default for milliseconds. On a machine with other
busy processes a spinning thread keeps the processor that the thread it waits for needs, and a training step takes
several times as long as with one thread. OpenMP reads how to wait from the environment, once, when it is loaded; so
this runs when ``midigpt_core`` is imported. It does not change what torch computes.
"""

from __future__ import annotations

import os
import sys

from midigpt_core.cores import available_cores
from midigpt_core.system.machine import affinity

#: Variables by which a user chooses how OpenMP's threads wait, and how many there are.
_POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
_COUNT = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
#: Set if the user has set none of these. GNU's library: turns of the loop that a thread waits in before it sleeps, some
#: 20 microseconds, about what waking it costs. LLVM's and Intel's: milliseconds.
WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}


def settle_threads() -> None:
    """Set the variables that the user has not set, if torch is not loaded yet.

    The number of threads is set only if a batch system or a container gives this process fewer processors than it may
    run on: torch knows nothing of such a share.
    """
    if "torch" in sys.modules:
        return
    if not _is_set(_POLICIES):
        os.environ.update(WAITING)
    cores = available_cores()
    if not _is_set(_COUNT) and cores < affinity():
        os.environ["OMP_NUM_THREADS"] = str(cores)


def threads_spin() -> bool:
    """Whether torch's threads spin as long as OpenMP does by default: torch was loaded first."""
    return not _is_set(_POLICIES)


def _is_set(names: tuple[str, ...]) -> bool:
    return any(name in os.environ for name in names)
