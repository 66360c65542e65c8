"""Default numbers of workers follow what a process is allotted."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from midigpt_core import cores
from midigpt_core.system import control_groups

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def machine_of_sixteen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixteen processors, no batch system, and a folder in the place of the control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(control_groups, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(control_groups, "ROOT", tmp_path / "groups")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")


def test_nothing_but_the_machine() -> None:
    assert cores.available_cores() == 16


@pytest.mark.parametrize(("given", "expected"), [("4", 4), ("64", 16), ("", 16), ("4(x2)", 16), ("0", 1)])
def test_a_slurm_allocation(given: str, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert cores.available_cores() == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 16)]
)
def test_a_container_of_version_2(quota: str, expected: int, machine_of_sixteen: Path) -> None:
    write(machine_of_sixteen / "membership", "0::/pod/box\n")
    write(machine_of_sixteen / "groups/pod/box/cpu.max", quota + "\n")
    assert cores.available_cores() == expected


def test_a_quota_of_a_group_above(machine_of_sixteen: Path) -> None:
    write(machine_of_sixteen / "membership", "0::/pod/box\n")
    write(machine_of_sixteen / "groups/pod/cpu.max", "300000 100000\n")
    write(machine_of_sixteen / "groups/pod/box/cpu.max", "max 100000\n")
    assert cores.available_cores() == 3


@pytest.mark.parametrize(("quota", "expected"), [("400000", 4), ("-1", 16)])
def test_a_container_of_version_1(quota: str, expected: int, machine_of_sixteen: Path) -> None:
    write(machine_of_sixteen / "membership", "5:memory:/box\n4:cpu,cpuacct:/box\n")
    write(machine_of_sixteen / "groups/cpu/box/cpu.cfs_quota_us", quota + "\n")
    write(machine_of_sixteen / "groups/cpu/box/cpu.cfs_period_us", "100000\n")
    assert cores.available_cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_a_process_bound_to_one_processor() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from midigpt_core.cores import available_cores; print(available_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
