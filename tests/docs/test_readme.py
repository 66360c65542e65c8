"""The README's blocks run as they stand, and the map names every source file."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
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
    tree = README.partition("## The tree")[2].partition("```text\n")[2].partition("```")[0]
    assert len(tree.splitlines()) <= 20
    for line in tree.splitlines():
        assert (ROOT / line.split()[0]).exists()


@pytest.mark.parametrize("block", BLOCKS, ids=["musician", "researcher"])
def test_a_block_runs_from_top_to_bottom(block: str, tmp_path: Path) -> None:
    """In a copy of what the block names, with a model that is trained for three steps."""
    tiny = "--set n_embd=16 --set n_layer=1 --set n_head=1 --set eval_rows=2 --max-steps 3"
    run_block(block.replace("--minutes 15", f"--minutes 0.05 {tiny}"), tmp_path, hard_limit=2)


@pytest.mark.slow
def test_the_musicians_block_runs_as_it_stands(tmp_path: Path) -> None:
    """Fifteen minutes of training."""
    run_block(BLOCKS[0], tmp_path)


def run_block(block: str, folder: Path, hard_limit: int | None = None) -> None:
    for name in ("docs/demo", "tests/data/midi"):
        shutil.copytree(ROOT / name, folder / name)
    make_songs(folder / "songs")
    config = folder / "docs" / "demo" / "train_config.json"
    settings = json.loads(config.read_text()) | {"n_embd": 16, "n_layer": 1, "n_head": 1, "max_steps": 3}
    config.write_text(json.dumps(settings | {"warmup_steps": 1, "save_steps": 3, "eval_steps": 3, "eval_rows": 2}))
    # The commands are this interpreter's, which a virtual environment does not put on the path for its tests.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MIDIGPT_CACHE": str(folder / "cache")}
    limit = rf"\1 --set density_hard_limit={hard_limit}" if hard_limit else r"\1"
    script = "set -e\n" + re.sub(r"^(midigpt generate .*)$", limit, block, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "songs/" in block:
        assert "3 files are not MIDI and are left out: 1 .ini, 1 .jpg, 1 .txt." in done.stderr
        assert "music: 26 rows, 21 kept (" in done.stdout
        assert "unreadable 1" in done.stdout
        assert "size: " in done.stdout
        assert "evaluation: " in done.stdout


def make_songs(folder: Path) -> None:
    """A folder as musicians have them: songs, also in a folder and an archive, and what else gathers there."""
    shutil.copytree(ROOT / "tests" / "data" / "midi", folder, ignore=shutil.ignore_patterns("*.md"))
    shutil.copy(folder / "mutopia_mozart_kv525_1.mid", folder / "song.mid")
    (folder / "old").mkdir()
    shutil.copy(folder / "mutopia_bach_invention_08.mid", folder / "old" / "Invention.MID")
    (folder / "old" / "broken.mid").write_bytes(b"MThd, but no more")
    (folder / "old" / "gone.mid").symlink_to("nowhere.mid")
    (folder / "old" / "empty.mid").touch()
    (folder / "lyrics.txt").write_text("la la la")
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff")
    (folder / "desktop.ini").write_text("[x]")
    (folder / ".DS_Store").write_bytes(bytes(8))
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.write(folder / "groove_funk_92.mid", "grooves/funk.mid")
        archive.writestr("grooves/bad.mid", b"no music")
    (folder / "damaged.zip").write_bytes(b"PK\3\4 damaged")


def test_there_are_two_paths() -> None:
    assert len(BLOCKS) == 2
