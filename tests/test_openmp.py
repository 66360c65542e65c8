"""torch's threads: how they wait and how many there are, settled before torch is loaded, unless the user has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

VARIABLES = (
    "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    "SLURM_CPUS_PER_TASK",
)  # fmt: skip
SHOW = f"import json, os; print(json.dumps({{name: os.environ[name] for name in {VARIABLES} if name in os.environ}}))"
WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
several = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor has one thread in any case")


def after(program: str, **variables: str) -> dict[str, str]:
    """What ``program`` leaves of the variables, begun with ``variables`` and none of the others."""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\n{SHOW}"],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    values: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return values


@pytest.mark.parametrize("module", ["midigpt_core", "midigpt.training.trainer", "midigpt.inference"])
def test_importing_settles_how_threads_wait(module: str) -> None:
    assert after(f"import {module}") == WAITING


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"])
def test_a_policy_of_the_user_stays(name: str) -> None:
    assert after("import midigpt_core", **{name: "7"}) == {name: "7"}


@several
def test_the_share_that_a_batch_system_gives_is_the_number_of_threads() -> None:
    program = "import midigpt_core, torch; assert torch.get_num_threads() == 1"
    assert after(program, SLURM_CPUS_PER_TASK="1") == {
        **WAITING, "SLURM_CPUS_PER_TASK": "1", "OMP_NUM_THREADS": "1"
    }  # fmt: skip


@several
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_the_user_stays(name: str) -> None:
    settled = after("import midigpt_core", SLURM_CPUS_PER_TASK="1", **{name: "2"})
    assert settled == {**WAITING, "SLURM_CPUS_PER_TASK": "1", name: "2"}


def test_nothing_is_set_after_torch() -> None:
    assert after("import sys; sys.modules['torch'] = sys; import midigpt_core") == {}


def test_the_policy_is_there_when_a_command_loads_torch(tmp_path: Path) -> None:
    """A module in torch's place shows what OpenMP would read."""
    (tmp_path / "torch.py").write_text(f"{SHOW}\nraise SystemExit(9)\n")
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-m", "midigpt", "evaluate", "--checkpoint", "bundle.pt", "--data", "shard.parquet"],
        env={**environment, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, json.loads(done.stdout)) == (9, WAITING)
