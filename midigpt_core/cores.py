"""How many processors this process may use: the share that a batch system or container gives it, not all of the
machine's."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from midigpt_core.system import control_groups
from midigpt_core.system.machine import affinity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def available_cores() -> int:
    """The smallest of three numbers: processors that this process may run on, ``SLURM_CPUS_PER_TASK``, control groups'
    quota.

    A quota of one and a half processors counts as two: the kernel lets both run, but not all the time.
    """
    allotted = [affinity(), *_slurm(), *_quotas()]
    return max(1, min(allotted))


def _slurm() -> Iterator[int]:
    """SLURM binds tasks to their processors only where its administrator configured it to."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if given.isdecimal():
        yield int(given)


def _quotas() -> Iterator[int]:
    for folder, is_v2 in control_groups.folders("cpu"):
        yield from _quota(folder, is_v2=is_v2)


def _quota(folder: Path, *, is_v2: bool) -> Iterator[int]:
    try:
        if is_v2:
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
    except OSError:  # the root group and groups without the controller have no quota
        return
    if quota.isdecimal() and period.isdecimal() and int(quota) and int(period):
        yield math.ceil(int(quota) / int(period))
