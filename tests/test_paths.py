"""From what the user typed to files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from midigpt_core.errors import DataError
from midigpt_core.paths import find_files, usable_path

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
    assert names(f"{songs}/*") == ["a.MID", "b.mid"]
    assert names(f"{songs}/**/*.kar") == ["deep/er/c.kar"]
    assert names(f"{songs}/*.[np][na]*") == ["cover.png", "odd[1].name"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("none", r"none: no such file or folder\. Check the path\."),
        ("empty", r"empty: no MIDI file \(\.kar, \.mid\) in this folder or below\. Try another\."),
        ("e*", r"/e\*: this pattern matches folders and no file\. Write .*/e\*/\*\* for the files in them\."),
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
    """It is not said to be empty. The user of the tests may be allowed everything, so the answer is made here."""
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


UNUSABLE = {
    "": "the path is empty (is a shell variable unset?). Name a file or folder.",
    "a\0b": "holds a NUL character",
    "\ud800": "holds a character that no file name can",
    "~nobody-of-this-name/songs": "is the home folder of no user. Write ./~nobody-of-this-name/songs for a file",
    "n" * 256: "the name is too long for the file system. Use a shorter one.",
    "loop/songs": "its links lead back to themselves. Correct them.",
}


@pytest.mark.parametrize("path", UNUSABLE)
def test_what_no_file_can_be_called_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("song.mid").touch()
    for what in (usable_path, names):
        with pytest.raises(DataError) as raised:
            what(path)
        assert UNUSABLE[path] in str(raised.value)


def test_other_names_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert usable_path("~/songs") == tmp_path / "home" / "songs"
    assert usable_path("not/there") == Path("not/there")
    assert usable_path(os.fsdecode(b"gr\xfcn")) == Path(os.fsdecode(b"gr\xfcn"))
    Path("~old").mkdir()
    Path("~old/song.mid").touch()
    assert names("./~old") == ["song.mid"]
    assert names(tmp_path) == ["~old/song.mid"]


def test_a_link_to_itself_in_a_folder_is_left_to_the_reader(songs: Path) -> None:
    (songs / "loop.mid").symlink_to("loop.mid")
    assert "loop.mid" in names(songs)


def test_folder_pattern_and_absolute_path_give_the_same_names(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are part of what a corpus is known by: it must not depend on how, or from where, the files were named."""
    monkeypatch.chdir(songs.parent)
    everything = names(songs)
    for same in ("songs", "songs/**/*", f"{songs}/**", "./songs/**/*.*"):
        assert names(same) == everything
    monkeypatch.chdir(songs)
    assert names(".") == names("**/*") == everything
    assert names("deep/*") == ["d.Mid"]
    assert names("*/er/*") == ["deep/er/c.kar"]
    moved = songs.rename(songs.parent / "moved")
    assert names(moved) == everything


def test_linked_folders_count_in_folders_and_patterns(songs: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "in").mkdir(parents=True)
    (elsewhere / "in" / "z.mid").write_bytes(b"")
    (elsewhere / "y.mid").write_bytes(b"")
    (songs / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(songs)
    # A folder that is there by its own name too keeps that name.
    (songs / "also").symlink_to(songs / "deep")
    expected = ["a.MID", "b.mid", "deep/d.Mid", "deep/er/c.kar", "linked/in/z.mid", "linked/y.mid"]
    assert names(songs) == names(f"{songs}/**/*") == expected
    assert names(f"{songs}/*/*") == ["deep/d.Mid", "linked/y.mid"]


def test_names_with_a_dot_count_only_where_the_dot_is_written(songs: Path) -> None:
    for name in (".ipynb_checkpoints/b.mid", "._a.mid", "deep/.hidden.mid"):
        (songs / name).parent.mkdir(exist_ok=True)
        (songs / name).write_bytes(b"")
    expected = ["a.MID", "b.mid", "deep/d.Mid", "deep/er/c.kar"]
    assert names(songs) == names(f"{songs}/**/*") == expected
    assert names(f"{songs}/*") == ["a.MID", "b.mid"]
    assert names(songs / ".ipynb_checkpoints") == names(f"{songs}/.ipynb_checkpoints/*") == ["b.mid"]
    assert names(f"{songs}/**/.*.mid") == ["._a.mid", "deep/.hidden.mid"]
    assert names(songs / "._a.mid") == ["._a.mid"]


def test_a_pattern_says_which_folder_it_may_not_search(songs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.scandir

    def refuse(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", lambda path: refuse(path) if Path(path).name == "deep" else original(path))
    with pytest.raises(DataError, match=r"songs/deep: cannot be searched \(Permission denied\)"):
        names(f"{songs}/**/*.mid")


def test_bytes_that_are_no_utf8_are_escaped(songs: Path) -> None:
    (songs / os.fsdecode(b"caf\xe9")).mkdir()
    (songs / os.fsdecode(b"caf\xe9/\xff.mid")).write_bytes(b"")
    assert names(f"{songs}/*/*.mid")[0] == names(songs)[2] == r"caf\xe9/\xff.mid"


def test_a_link_to_itself_is_left_to_its_reader(songs: Path) -> None:
    (songs / "self.mid").symlink_to(songs / "self.mid")
    assert "self.mid" in names(songs)
