"""The whole way in a Python that lacks what Windows lacks: ``tests/support/bare_system.py`` says how."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

BARE = Path(__file__).resolve().parents[1] / "support" / "bare_system.py"
SONGS = sorted((Path(__file__).resolve().parents[1] / "data" / "midi").glob("mutopia_*.mid"))[:3]


def run(folder: Path, *arguments: str | Path) -> str:
    environment = {**os.environ, "MIDIGPT_CACHE": str(folder / "cache")}
    environment.pop("MIDIGPT_WITHOUT", None)
    command = [sys.executable, BARE, "all", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_module_can_be_imported(tmp_path: Path) -> None:
    count = re.fullmatch(r"(\d+) modules\n", run(tmp_path))
    assert count is not None
    assert int(count[1]) > 400


def test_from_files_to_music(tmp_path: Path) -> None:
    """Builds a corpus, trains with a data worker, continues, and generates, in one process."""
    songs = tmp_path / "songs"
    songs.mkdir()
    for song in SONGS:
        shutil.copy(song, songs)
    size = ["--set", "n_embd=32", "--set", "n_layer=1", "--set", "n_head=2", "--max-seq-len", "512"]
    train = ["train", "songs", "--warmup-steps", "1", *size, "--output-dir", "run", "--num-workers", "1"]
    out = run(
        tmp_path,
        *["preprocess", "songs", "--then", *train, "--max-steps", "2", "--save-steps", "1"],
        *["--then", *train, "--max-steps", "3", "--resume", "auto", "--then"],
        *["generate", "--checkpoint", "run/model_final.pt", "--input", f"songs/{SONGS[0].name}"],
        *["--track", "0", "--bars", "0-1", "-o", "music"],
    )
    assert "Trained 3 steps" in out
    assert (tmp_path / "music" / f"{SONGS[0].stem}-1.mid").exists()


def test_it_does_take_away_what_windows_lacks(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(BARE.parent)!r})
import bare_system
bare_system.take_away_modules()
bare_system.keep_open_files()
"""
    ours = {
        "import fcntl": "ModuleNotFoundError",
        "import os; os.fork": "AttributeError",
        "import signal; signal.SIGHUP": "AttributeError",
        "import os; os.open('.', os.O_RDONLY)": "PermissionError",
        "import os; stream = open('file', 'w'); os.replace('file', 'other')": "PermissionError",
        "import os; stream = open('file', 'w'); os.unlink('file')": "PermissionError",
        "import os; open('file', 'w').close(); os.replace('file', 'other'); os.kill": "nothing",
    }
    for statement, error in ours.items():
        tried = f"""
try:
    exec({statement!r}, {{"__name__": "midigpt_core.tried"}})
except Exception as error:
    print(type(error).__name__)
else:
    print("nothing")
"""
        command = [sys.executable, "-c", code + tried]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path)
        assert done.stdout.strip() == error, statement
