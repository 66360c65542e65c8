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
#: Variables that hold a process's number, in the run or on its machine, in the order in which Lightning asks for them:
#: in a shell that srun gave, SLURM_PROCID is that of the shell.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
_NODES = ("NODE_RANK", "GROUP_RANK")


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
    """Leave notices of ``packages`` to the first process of a run; errors are everyone's. Levels that are set stay."""
    if _is_first():
        return
    for package in packages:
        log = logging.getLogger(package)
        if log.level == logging.NOTSET:
            log.setLevel(logging.ERROR)


def _is_first() -> bool:
    rank = _first_number(_RANKS)
    return rank == 0 and ("RANK" in os.environ or _first_number(_NODES) == 0)


def _first_number(names: Iterable[str]) -> int:
    numbers = (os.environ.get(name, "") for name in names)
    return next((int(number) for number in numbers if number.isdigit()), 0)
