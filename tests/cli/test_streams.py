"""What cannot be printed ends no command with a traceback; a result that was lost is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PRINTS = "import sys; from midigpt_core.cli.main import main; sys.exit(main(['version']))"
REMARKS = """
import sys, click
from midigpt_core.cli.echo import remark_line
from midigpt_core.cli.main import run
@click.command()
def command(): remark_line("→ done")
sys.exit(run(command, "command", []))
"""


def run_to(output: int, code: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=output,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_result_that_meets_a_full_disk_is_said() -> None:
    with Path("/dev/full").open("w") as full:
        code, said = run_to(full.fileno(), PRINTS)
        assert (code, said.count("\n")) == (2, 1)
        assert said.startswith(
            "Error: standard output cannot be written (No space left on device): the result is lost."
        )
        assert run_to(full.fileno(), REMARKS) == (0, "")


@pytest.mark.parametrize(("code", "expected"), [(PRINTS, 141), (REMARKS, 0)])
def test_a_pipe_without_a_reader_ends_a_command_quietly(code: str, expected: int) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    assert run_to(writer, code) == (expected, "")
    os.close(writer)


def test_a_character_that_the_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out:
        assert run_to(out.fileno(), REMARKS, PYTHONIOENCODING="latin-1") == (0, "")
    assert (tmp_path / "out").read_bytes() == b"\\u2192 done\n"
