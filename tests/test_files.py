"""Durable files: what cannot be written is said in a line that names it."""

from __future__ import annotations

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
