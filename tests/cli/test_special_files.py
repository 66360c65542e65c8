"""What is no regular file, or too large, is refused at once wherever a command takes a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from midigpt_core.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", ["pipe", "device"])
@pytest.mark.parametrize(
    "command",
    [
        ["inspect", "FILE.pt"],
        ["inspect", "FILE.safetensors"],
        ["diff", "FILE.pt", "FILE.pt"],
        ["convert", "FILE.pt", "out.safetensors"],
        ["evaluate", "--checkpoint", "FILE.pt", "--data", "x.parquet"],
        ["generate", "--checkpoint", "FILE.pt", "--continue", "4", "--input", "x.mid", "-o", "out"],
        ["encode", "FILE.mid"],
        ["encode", "x.mid", "--encoder-config", "FILE.json"],
        ["encode", "x.mid", "--checkpoint", "FILE.pt"],
        ["decode", "FILE.json", "-o", "out.mid"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_a_pipe_or_device_is_refused(
    kind: str,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Reading a pipe without a writer never returns; /dev/zero has no end."""
    monkeypatch.chdir(tmp_path)
    for suffix in ("pt", "safetensors", "mid", "json"):
        if kind == "pipe":
            os.mkfifo(f"FILE.{suffix}")
        else:
            (tmp_path / f"FILE.{suffix}").symlink_to("/dev/zero")
    assert main(command) == 2
    assert f"is a {'named pipe' if kind == 'pipe' else kind}, not a regular file" in capsys.readouterr().err


def test_a_midi_file_of_gigabytes_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "large.mid"
    path.touch()
    os.truncate(path, 3 << 30)
    assert main(["encode", str(path)]) == 2
    assert f"{path}: the file is larger than 16 MiB. Use another file" in capsys.readouterr().err


def test_plugins_whose_api_is_a_number_of_thousands_of_digits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.py").write_text(f"MIDIGPT_API = {'9' * 5000}\n")
    os.mkfifo(tmp_path / "pipe.py")
    assert main(["plugins", "list", "--plugins-dir", str(tmp_path)]) == 0
    assert "it is written for plugin API 999999999999999999…, and this is API 1" in "".join(capsys.readouterr())
