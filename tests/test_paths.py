"""From what the user typed to files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from midigpt_core.errors import DataError
from midigpt_core.paths import find_files

SUFFIXES = {".mid", ".kar"}


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    for name in ("b.mid", "a.MID", "deep/er/c.kar", "deep/d.Mid", "cover.png", "a.mid.txt", "odd[1].name"):
        path = tmp_path / "songs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "songs"


def names(*paths: Path | str) -> list[str]:
    return [file.name for file in find_files([str(path) for path in paths], SUFFIXES, kind="MIDI", hint="Try another.")]


def test_a_folder_is_searched_to_its_depths(songs: Path) -> None:
    assert names(songs) == ["a.MID", "b.mid", "deep/d.Mid", "deep/er/c.kar"]


def test_each_file_once_in_the_order_given(songs: Path) -> None:
    assert names(songs / "deep", songs / "b.mid", songs) == ["d.Mid", "er/c.kar", "b.mid", "a.MID"]


def test_who_names_a_file_means_it(songs: Path) -> None:
    assert names(songs / "odd[1].name") == ["odd[1].name"]


def test_a_pattern_gives_what_is_called_so_or_all_that_it_matches(songs: Path) -> None:
    assert names(f"{songs}/*") == [str(songs / "a.MID"), str(songs / "b.mid")]
    assert names(f"{songs}/**/*.kar") == [str(songs / "deep/er/c.kar")]
    assert names(f"{songs}/*.[np][na]*") == [str(songs / "cover.png"), str(songs / "odd[1].name")]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none", r"none: no such file or folder\. Check the path\."),
        ("empty", r"empty: no MIDI file \(\.kar, \.mid\) in this folder or below\. Try another\."),
        ("*.wav", r"\*\.wav: nothing matches this pattern\. Check the path, and quote it in the shell\."),
    ],
)
def test_what_leads_to_no_file_is_named(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        names(tmp_path / path)


def test_no_path_at_all() -> None:
    with pytest.raises(DataError, match="no data: name at least one MIDI file, folder or glob"):
        names()


def test_a_folder_that_may_not_be_searched_is_named(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not said to be empty. Whoever runs the tests may be allowed everything, so the system's answer is ours."""
    original = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "deep":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(
        DataError, match=r"songs/deep: cannot be searched \(Permission denied\)\. Check its permissions"
    ):
        names(songs)


def test_links_in_a_circle_end_pipes_are_left_and_links_to_nowhere_kept(songs: Path) -> None:
    (songs / "circle").symlink_to(songs)
    (songs / "nowhere.mid").symlink_to(songs / "gone")
    os.mkfifo(songs / "pipe.mid")
    assert names(songs) == ["a.MID", "b.mid", "deep/d.Mid", "deep/er/c.kar", "nowhere.mid"]
