"""Durable files: what cannot be written is said in a line that names it."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from midigpt_core import files

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says of a removed working folder, as of one under ``/proc``, that there is no such file."""
    removed = tmp_path / "removed"
    removed.mkdir()
    monkeypatch.chdir(removed)
    removed.rmdir()
    with pytest.raises(files.WriteError, match=r"run/config\.json: cannot be written \(No such file or directory\)"):
        files.write_text("run/config.json", "{}")
    with pytest.raises(files.WriteError, match=r"run: cannot be written"), files.atomic_folder("run"):
        pass


@pytest.mark.parametrize("length", [222, 251, 255])
def test_the_longest_legal_name_is_written(tmp_path: Path, length: int) -> None:
    """A temporary name as long as its target's would not fit the file system."""
    target = tmp_path / f"{'n' * (length - 4)}.mid"
    files.write_bytes(target, b"music")
    with files.atomic_folder(tmp_path / ("f" * length)) as folder:
        (folder / "inside").touch()
    assert target.read_bytes() == b"music"
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == ["f", "n"]


def test_a_temporary_file_has_the_suffix_that_tells_its_format(tmp_path: Path) -> None:
    with files.atomic_path(tmp_path / "curves.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.touch()
    long = tmp_path / f"a.{'b' * 240}"
    files.write_bytes(long, b"")
    assert long.exists()


def test_the_action_fits_the_cause(tmp_path: Path) -> None:
    """ "Choose a folder that you can write to" helps nobody whose name is too long."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in {
        "n" * 256: r"File name too long\)\. Choose a shorter name\.",
        "loop/a": r"\)\. A part of this path is no folder: choose another\.",
        "folder": r"Is a directory\)\. A folder has this name: choose another\.",
        "file/a": r"\)\. A part of this path is no folder: choose another\.",
    }.items():
        with pytest.raises(files.WriteError, match=reason):
            files.write_text(tmp_path / path, "")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(files.WriteError) as raised:
            files.write_text(tmp_path / "another", "")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "Too many open files). Close other programs, or raise the limit" in str(raised.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "loop"]
