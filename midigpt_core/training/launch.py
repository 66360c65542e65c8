"""What launchers say of a run's processes, before torch is there to ask: how many there are, and which this one is."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midigpt_core.config import TrainConfig

#: Who starts processes, by a variable that it sets -> the variable that says how many.
_LAUNCHERS = {"TORCHELASTIC_RUN_ID": ("torchrun", "WORLD_SIZE"), "SLURM_STEP_ID": ("srun", "SLURM_NTASKS")}
#: Variables that hold a process's number among those of the run: torchrun's, srun's, Lightning's own.
_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")


def require_as_many_processes(config: TrainConfig) -> None:
    """Raises :class:`ConfigError` if a launcher started several processes and the run is not laid out for so many.

    Each would otherwise train alone, in the same folder.
    """
    wanted = config.devices * config.num_nodes
    for mark, (launcher, count) in _LAUNCHERS.items():
        started = os.environ.get(count, "")
        if mark in os.environ and started.isdigit() and int(started) not in (1, wanted):
            raise ConfigError(
                f"devices: {launcher} started {started} processes, but devices = {config.devices} times num_nodes ="
                f" {config.num_nodes} is {wanted}. Make them agree."
            )


def quiet_other_ranks(packages: Iterable[str]) -> None:
    """Leave notices of ``packages`` to the first process of a run; errors are everyone's."""
    numbers = (os.environ.get(name, "") for name in _RANKS)
    if next((int(number) for number in numbers if number.isdigit()), 0) > 0:
        for package in packages:
            logging.getLogger(package).setLevel(logging.ERROR)
