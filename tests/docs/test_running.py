"""docs/running.md: the job script for SLURM puts a run that was stopped back into the queue, and no other."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from midigpt_core.cli.train import train

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "running.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (2, False), (138, True), (143, True)])
def test_the_job_script_requeues_what_was_stopped(tmp_path: Path, code: int, requeued: bool) -> None:
    (script,) = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    for name, body in {"srun": f"exit {code}", "scontrol": f'echo "$@" > {tmp_path}/asked'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711"}
    assert subprocess.run(["bash", "-c", script], env=environment, check=False).returncode == code
    asked = tmp_path / "asked"
    assert (asked.read_text(encoding="utf-8") if asked.exists() else "") == ("requeue 4711\n" if requeued else "")


def test_the_flags_on_the_page_are_flags_of_train() -> None:
    commands = re.findall(r"(?:midigpt train|midigpt\.training\.trainer) ((?:[^\n\\]|\\\n)*)", PAGE)
    flags = {flag for command in commands for flag in re.findall(r"--[a-z-]+", command)}
    assert {"--devices", "--num-nodes", "--strategy", "--resume", "--num-workers"} <= flags
    usage = CliRunner().invoke(train, ["--help"]).output
    assert [flag for flag in sorted(flags) if flag not in usage] == []
