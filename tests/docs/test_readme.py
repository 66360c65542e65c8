"""The README's blocks run as they stand, and the map names every source file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"<!-- a test runs this block -->\n```\n(.*?)```", README, re.DOTALL)


def test_the_map_is_what_the_source_says() -> None:
    """`make map` writes it."""
    subprocess.run([sys.executable, "docs/map.py", "--check"], cwd=ROOT, check=True)
    page = (ROOT / "docs" / "map.md").read_text(encoding="utf-8")
    assert page.count("\n- `") > 300
    assert "?." not in page


def test_the_readme_is_short() -> None:
    assert len(README.encode()) <= 10_000
    tree = README.partition("## The tree")[2].partition("```\n")[2].partition("```")[0]
    assert len(tree.splitlines()) <= 20
    for line in tree.splitlines():
        assert (ROOT / line.split()[0]).exists()


@pytest.mark.parametrize("block", BLOCKS, ids=["musician", "researcher"])
def test_a_block_runs_from_top_to_bottom(block: str, tmp_path: Path) -> None:
    """In a copy of what the block names, with a model that is trained for three steps."""
    for folder in ("docs/demo", "tests/data/midi"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    config = tmp_path / "docs" / "demo" / "train_config.json"
    settings = json.loads(config.read_text()) | {"n_embd": 16, "n_layer": 1, "n_head": 1, "max_steps": 3}
    config.write_text(json.dumps(settings | {"warmup_steps": 1, "save_steps": 3, "eval_steps": 3, "eval_rows": 2}))
    # The commands are this interpreter's, which a virtual environment does not put on the path for its tests.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MIDIGPT_CACHE": str(tmp_path / "cache")}
    script = "set -e\n" + re.sub(
        r"^(midigpt generate .*)$", r"\1 --set density_hard_limit=2", block, flags=re.MULTILINE
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_two_paths() -> None:
    assert len(BLOCKS) == 2
