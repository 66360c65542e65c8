"""Reads from the launcher's environment, without torch, how many processes a run has and which one this is."""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING

from midigpt_core.errors import ConfigError
from midigpt_core.system.processes import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from midigpt_core.config import TrainConfig

#: A variable that a launcher sets -> the launcher's name and its variable with the number of processes.
_LAUNCHERS = {"TORCHELASTIC_RUN_ID": ("torchrun", "WORLD_SIZE"), "SLURM_STEP_ID": ("srun", "SLURM_NTASKS")}
#: Variables with a process's rank in the run or on its machine, in the order in which Lightning reads them: in a shell
#: that srun started, SLURM_PROCID is the shell's.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")
#: Variable with the process id of the first rank, for the ranks that Lightning starts.
_FIRST = "MIDIGPT_FIRST_RANK_PID"
_NODES = ("NODE_RANK", "GROUP_RANK")


def require_as_many_processes(config: TrainConfig) -> None:
    """Raise :class:`ConfigError` if a launcher started several processes and the run is configured for another number.

    Each process would otherwise train alone, in the same folder.
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
    """Raise :class:`ConfigError` if the environment says that this process is one of several but not where the others
    are. It would wait for them at a port that it chose itself.
    """
    several = config.devices * config.num_nodes > 1
    if several and "LOCAL_RANK" in os.environ and not {"MASTER_PORT", "SLURM_PROCID"} & set(os.environ):
        raise ConfigError(
            f"LOCAL_RANK is set to {os.environ['LOCAL_RANK']} and MASTER_PORT is not: left over from another run?"
            " Unset LOCAL_RANK, or set MASTER_ADDR and MASTER_PORT for all processes of this run."
        )


def be_found_by_children() -> None:
    """Store this process's id for the other ranks of this machine, which Lightning starts as its children."""
    os.environ[_FIRST] = str(os.getpid())


def die_with_first() -> None:
    """End this process, if Lightning started it, when the first rank ends or has already ended. Call this early."""
    first = os.environ.get(_FIRST, "")
    if first.isdigit() and int(first) != os.getpid() and _first_number(("LOCAL_RANK",)) > 0:
        die_with_parent(int(first))


def settle_slurm_tasks(config: TrainConfig) -> None:
    """Raise :class:`ConfigError` if SLURM's layout differs from the run's. Lightning would fail with a traceback.

    Lightning requires ``--ntasks-per-node``. With ``--ntasks``, SLURM gives the layout in another variable, which
    serves as well if all nodes have the same number of tasks.
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
    """Tasks per node: from SLURM's ``2(x3)``, three nodes with two tasks each, or from the number of tasks."""
    lie = os.environ.get("SLURM_TASKS_PER_NODE", "")
    found = re.fullmatch(r"(\d+)(\(x\d+\))?", lie)
    if found:
        return found[1]
    return lie or str(int(os.environ["SLURM_NTASKS"]) // nodes)


def quiet_other_ranks(packages: Iterable[str]) -> None:
    """Log warnings of ``packages`` only in the first process of a run, errors in all. A level that is set stays."""
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
