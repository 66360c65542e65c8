"""The launchers themselves, as docs/running.md names them: Lightning's own and torchrun, stopped and continued."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from midigpt_core.errors import ConfigError, TrainingError
from midigpt_core.training.planning.launch import quiet_other_ranks, settle_slurm_tasks
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.planning.resume import step_files
from midigpt_core.training.run import fit
from support.stopping import until
from support.training import metrics

if TYPE_CHECKING:
    from midigpt_core.config import TrainConfig
    from support.training import Configure

TRAINER = "midigpt.training.trainer"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", TRAINER]
LIGHTNING = [sys.executable, "-m", TRAINER]
STEPS = 200


def start(launcher: list[str], config: TrainConfig, shard: Path) -> subprocess.Popen[bytes]:
    folder = Path(config.output_dir)
    folder.mkdir(exist_ok=True)
    (folder / "asked.json").write_text(json.dumps(config.set_values()), encoding="utf-8")
    arguments = ["--config", str(folder / "asked.json"), "--train-data", str(shard), "--resume", "auto"]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    return subprocess.Popen([*launcher, *arguments, "--devices", "2", "--strategy", "ddp"], env=environment)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def ranks_at_work(process: subprocess.Popen[bytes], folder: Path) -> list[int]:
    """The launcher's children, once they have taken a few steps."""
    before = len(metrics(folder)) if (folder / "metrics.jsonl").exists() else 0
    until(lambda: (folder / "metrics.jsonl").exists() and len(metrics(folder)) > before + 2, seconds=90)
    return children(process.pid)


def stop_after_some_steps(process: subprocess.Popen[bytes], folder: Path) -> int:
    """The exit code after a SIGTERM, once nothing of the run is left."""
    ranks = ranks_at_work(process, folder)
    process.send_signal(signal.SIGTERM)
    code = process.wait(60)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks))
    return code


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "SLURM_PROCID": "1"}, True),
        # Lightning's own processes, in a shell that srun gave and on a second machine.
        ({"LOCAL_RANK": "1", "SLURM_PROCID": "0"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"SLURM_PROCID": "3", "SLURM_STEP_ID": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"RANK": "", "LOCAL_RANK": "x"}, True),
    ],
)
def test_only_the_first_process_logs_warnings(
    environment: dict[str, str], *, is_first: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    # A package of its own name for each case: loggers stay.
    package = "package_of_" + "_".join(f"{name}{value}" for name, value in environment.items())
    quiet_other_ranks([package])
    log = logging.getLogger(f"{package}.module")
    log.warning("a warning")
    log.error("an error")
    assert [record.getMessage() for record in caplog.records] == ["a warning"] * is_first + ["an error"]
    chosen = logging.getLogger(f"{package}_with_a_level")
    chosen.setLevel(logging.WARNING)
    quiet_other_ranks([chosen.name])
    assert chosen.level == logging.WARNING


@pytest.mark.slow
def test_both_launchers_stop_well_and_go_on_from_each_other(
    configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = configure(max_steps=STEPS, save_steps=1000, batch_size=1, precision="fp16")
    folder = Path(config.output_dir)
    assert stop_after_some_steps(start(LIGHTNING, config, shard), folder) == 128 + signal.SIGTERM
    assert capfd.readouterr().err.count("precision is fp32 instead of fp16") == 1
    (first,) = step_files(folder / "checkpoints")
    # torchrun passes the signal on, and has an exit code of its own.
    assert stop_after_some_steps(start(TORCHRUN, config, shard), folder) != 0
    assert capfd.readouterr().err.count("precision is fp32 instead of fp16") == 1
    assert max(step_files(folder / "checkpoints")) > first
    assert start(TORCHRUN, config, shard).wait(120) == 0
    assert [line["step"] for line in metrics(folder)] == list(range(1, STEPS + 1))
    assert (folder / "model_final.pt").is_file()


@pytest.mark.slow
def test_ranks_end_with_the_first_however_it_ends(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=STEPS, save_steps=1000, batch_size=1)
    process = start(LIGHTNING, config, shard)
    folder = Path(config.output_dir)
    ranks = ranks_at_work(process, folder)
    process.kill()
    process.wait(10)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ranks), seconds=5)


def test_a_rank_left_over_from_another_run_is_an_error(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_PORT", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(ConfigError, match=r"LOCAL_RANK is set to 1 and MASTER_PORT is not"):
        prepare(configure(devices=2, strategy="ddp"), shard)


@pytest.mark.parametrize(
    ("slurm", "devices", "message"),
    [
        ({"SLURM_NTASKS": "2", "SLURM_TASKS_PER_NODE": "2"}, 2, ""),
        ({"SLURM_NTASKS": "2"}, 2, ""),
        ({"SLURM_NTASKS": "2", "SLURM_NNODES": "2"}, 2, "num_nodes: SLURM gave 2 nodes, but num_nodes is 1"),
        ({"SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, 2, "devices: SLURM starts 4 tasks on a node"),
        ({"SLURM_NTASKS": "3", "SLURM_TASKS_PER_NODE": "2,1"}, 2, "devices: SLURM starts 2,1 tasks on a node"),
    ],
)
def test_slurm_s_layout_is_taken_or_refused_in_a_line(
    slurm: dict[str, str], devices: int, message: str, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SLURM_NTASKS_PER_NODE", "SLURM_TASKS_PER_NODE", "SLURM_NNODES", "SLURM_JOB_NAME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in slurm.items():
        monkeypatch.setenv(name, value)
    config = configure(devices=devices, strategy="ddp")
    if message:
        with pytest.raises(ConfigError, match=message):
            settle_slurm_tasks(config)
    else:
        settle_slurm_tasks(config)
        # What Lightning asks for.
        assert os.environ["SLURM_NTASKS_PER_NODE"] == "2"


def test_a_rank_whose_first_rank_is_gone_ends() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    code = "from midigpt_core.training.planning.launch import die_with_first; die_with_first()"
    environment = {**os.environ, "MIDIGPT_FIRST_RANK_PID": str(gone.pid), "LOCAL_RANK": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -signal.SIGKILL


def test_a_port_in_use_is_an_error_in_a_line(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(TrainingError, match=rf"^port {port} of this machine is in use by another process\."):
            fit(prepare(configure(devices=2, strategy="ddp"), shard))
