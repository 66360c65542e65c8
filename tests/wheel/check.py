"""Tries an installed wheel as its users would: python tests/wheel/check.py CLONE.

It composes pieces, trains ten steps, fills in bars of a song, and compares tokens with the golden ones of the clone.
Only the packages that the interpreter has installed are used: run it with the environment's interpreter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

_GOLDENS = ("tests/score/test_goldens.py", "tests/encoder/test_golden_tokens.py")


def main() -> None:
    clone = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ["MIDIGPT_CACHE"] = str(work / "cache")
        _installed(work)
        _python(work, str(clone / "docs/demo/compose.py"), "data", "--train", "60", "--valid", "6")
        midigpt = [str(Path(sysconfig.get_path("scripts")) / "midigpt")]
        data = work / "data"
        _run(work, *midigpt, "preprocess", "--parquet", str(data / "*/*.parquet"), "--encoder-config", "yellow")
        _run(
            work, *midigpt, "train", "--config", str(clone / "docs/demo/train_config.json"),
            "--max-steps", "10", "--warmup-steps", "2", "--train-data", str(data / "train/00000.parquet"),
            "--eval-data", str(data / "validation/00000.parquet"), "--output-dir", "run",
        )  # fmt: skip
        _run(
            work, *midigpt, "generate", "--checkpoint", "run/model_final.pt", "--input", str(data / "song.mid"),
            "--track", "0", "--bars", "4-5", "--seed", "1", "-o", "music",
        )  # fmt: skip
        assert list((work / "music").glob("*.mid")), "nothing was generated"
        # From the folder of the check: the clone's own packages must not be found.
        _python(
            work, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(clone / "pyproject.toml"),
            "--rootdir", str(clone), *(str(clone / one) for one in _GOLDENS),
        )  # fmt: skip
    print("The wheel trains, generates, and makes the golden tokens.")


def _installed(work: Path) -> None:
    script = "import midigpt_core, midigpt_encoder; print(midigpt_core.__file__, midigpt_encoder.__file__, sep='\\n')"
    found = subprocess.run([sys.executable, "-c", script], cwd=work, check=True, capture_output=True, text=True).stdout
    packages = (sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    for file in found.split("\n")[:2]:
        if not file.startswith(packages):
            sys.exit(f"{file} is not an installed wheel's. Install the wheel into this environment.")


def _python(work: Path, *arguments: str) -> None:
    _run(work, sys.executable, *arguments)


def _run(work: Path, *command: str) -> None:
    print("$", *command, flush=True)
    subprocess.run(command, cwd=work, check=True)


if __name__ == "__main__":
    main()
