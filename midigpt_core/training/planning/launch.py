"""What launchers say of a run's processes, before torch is there to ask: how many there are, and which this one is."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

from midigpt_core.errors import ConfigError
from midigpt_core.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midigpt_core.config import TrainConfig

#: Who starts processes, by a variable that it sets -> the variable that says how many.
_LAUNCHERS = {"TORCHELASTIC_RUN_ID": ("torchrun", "WORLD_SIZE"), "SLURM_STEP_ID": ("srun", "SLURM_NTASKS")}
#: Variables that hold a process's number, in the run or on its machine, in the order in which Lightning asks for them:
#: in a shell that srun gave, SLURM_PROCID is that of the shell.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
#: The process id of the first rank, for those that Lightning starts.
_FIRST = "MIDIGPT_FIRST_RANK_PID"
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


def require_no_left_over_rank(config: TrainConfig) -> None:
    """Raises :class:`ConfigError` if this process is told that it is one of several, and not where the others are.

    It would wait for them at a port that it chose itself.
    """
    several = config.devices * config.num_nodes > 1
    if several and "LOCAL_RANK" in os.environ and not {"MASTER_PORT", "SLURM_PROCID"} & set(os.environ):
        raise ConfigError(
            f"LOCAL_RANK is set to {os.environ['LOCAL_RANK']} and MASTER_PORT is not: left over from another run?"
            " Unset LOCAL_RANK, or set MASTER_ADDR and MASTER_PORT for all processes of this run."
        )


def be_found_by_children() -> None:
    """Tell the processes that Lightning starts as the other ranks of this machine who their parent is."""
    os.environ[_FIRST] = str(os.getpid())


def die_with_first() -> None:
    """A rank that Lightning started ends with the first, also if that one is gone by now. To be called early."""
    first = os.environ.get(_FIRST, "")
    if first.isdigit() and int(first) != os.getpid() and _first_number(("LOCAL_RANK",)) > 0:
        die_with_parent(int(first))


def settle_slurm_tasks(config: TrainConfig) -> None:
    """Raises :class:`ConfigError` where SLURM's layout is not that of the run; Lightning would, with a traceback.

    Lightning insists on ``--ntasks-per-node``. SLURM says how the tasks of ``--ntasks`` lie in another variable, which
    is as good where all nodes have as many.
    """
    if "SLURM_NTASKS" not in os.environ or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return
    nodes = os.environ.get("SLURM_NNODES", "")
    if nodes.isdigit() and int(nodes) != config.num_nodes and int(os.environ["SLURM_NTASKS"]) > 1:
        raise ConfigError(f"num_nodes: SLURM gave {nodes} nodes, but num_nodes is {config.num_nodes}. Make them agree.")
    a_node = os.environ.get("SLURM_NTASKS_PER_NODE") or _tasks_per_node(config.num_nodes)
    if a_node != str(config.devices) and int(os.environ["SLURM_NTASKS"]) > 1:
        raise ConfigError(
            f"devices: SLURM starts {a_node} tasks on a node, but devices is {config.devices}. Give srun"
            f" --ntasks-per-node={config.devices}, or make devices agree."
        )
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", a_node)


def _tasks_per_node(nodes: int) -> str:
    """Of SLURM's ``2(x3)``, three nodes of two, or of so many tasks in all."""
    lie = os.environ.get("SLURM_TASKS_PER_NODE", "")
    found = re.fullmatch(r"(\d+)(\(x\d+\))?", lie)
    if found:
        return found[1]
    return lie or str(int(os.environ["SLURM_NTASKS"]) // nodes)


def quiet_other_ranks(packages: Iterable[str]) -> None:
    """Leave notices of ``packages`` to the first process of a run; errors are everyone's. Levels that are set stay."""
    if is_first():
        return
    for package in packages:
        log = logging.getLogger(package)
        if log.level == logging.NOTSET:
            log.setLevel(logging.ERROR)


def is_first() -> bool:
    """Whether this is the first process of its run, or the only one."""
    rank = _first_number(_RANKS)
    return rank == 0 and ("RANK" in os.environ or _first_number(_NODES) == 0)


def _first_number(names: Iterable[str]) -> int:
    numbers = (os.environ.get(name, "") for name in names)
    return next((int(number) for number in numbers if number.isdigit()), 0)
