"""Warns of threads that spin on a busy machine."""

from __future__ import annotations

import torch

from midigpt_core import terminal
from midigpt_core.cores import available_cores
from midigpt_core.openmp import threads_spin
from midigpt_core.system.machine import load_average

_log = terminal.logger("midigpt_core.training")


def warn_of_spinning_threads() -> None:
    """Log a warning if torch was loaded before it was told how its threads wait, and other processes are busy.

    Busy: with torch's threads and the processes of the last minute (the load average), the machine has more to run than
    processors.
    """
    threads, load, cores = torch.get_num_threads(), load_average(), available_cores()
    if threads > 1 and threads_spin() and threads + load > cores + 0.5:
        _log.warning(
            "torch was imported before midigpt_core, so its %d threads spin while they wait, and other processes are "
            "busy (load average %.1f on %d processors): a step can take several times as long as with one thread. "
            "Import midigpt_core before torch, or set OMP_WAIT_POLICY=passive.",
            threads,
            load,
            cores,
        )
