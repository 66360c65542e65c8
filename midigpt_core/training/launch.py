"""Whether as many processes were started as the configuration says; known before torch is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from midigpt_core.config import TrainConfig

#: Who starts processes, by a variable that it sets -> the variable that says how many.
_LAUNCHERS = {"TORCHELASTIC_RUN_ID": ("torchrun", "WORLD_SIZE"), "SLURM_STEP_ID": ("srun", "SLURM_NTASKS")}


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
