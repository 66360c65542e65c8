"""The data source is told from what the paths lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from midigpt_midifiles.files import SUFFIXES

from midigpt_core.archives import ARCHIVE_SUFFIXES
from midigpt_core.components import SourceSpec
from midigpt_core.corpus.detection import FALLBACK, detect_source
from midigpt_core.errors import DataError
from midigpt_core.plugins import Selection, load_registry

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.plugins import Registry


@pytest.fixture(scope="module")
def bundled() -> Registry:
    return load_registry(Selection())


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for name in (
        "songs/a.mid",
        "songs/deep/B.KAR",
        "songs/notes.txt",
        "songs/.hidden.parquet",
        "shards/0.parquet",
        "songs.tar.gz",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path


def test_a_folder_with_nothing_in_it_is_named_with_what_is_looked_for(tmp_path: Path, bundled: Registry) -> None:
    (tmp_path / "songs" / "deep").mkdir(parents=True)
    with pytest.raises(DataError, match=r"songs: no file that a data source reads \(\.kar, \.mid, .*\) in this folder"):
        detect_source(bundled, [str(tmp_path / "songs")])


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("songs", "midifiles"),
        ("songs/deep", "midifiles"),
        ("songs/deep/B.KAR", "midifiles"),
        ("songs/*.mid", "midifiles"),
        ("songs/**", "midifiles"),
        ("songs.tar.gz", "midifiles"),
        ("shards", "gigamidi"),
        ("shards/*.parquet", "gigamidi"),
        # The source reports what is wrong with these.
        ("nowhere", FALLBACK),
        ("songs/*.xyz", FALLBACK),
    ],
)
def test_what_is_there_names_the_source(music: Path, bundled: Registry, path: str, source: str) -> None:
    assert detect_source(bundled, [str(music / path)]) == source


def test_the_record_of_midifiles_names_what_it_reads(bundled: Registry) -> None:
    spec = bundled.find("source", "midifiles").spec
    assert isinstance(spec, SourceSpec)
    assert set(spec.suffixes) == SUFFIXES | ARCHIVE_SUFFIXES


def test_files_of_two_sources_must_be_told_apart(music: Path, bundled: Registry) -> None:
    with pytest.raises(DataError, match=r"1 \.parquet for 'gigamidi' and 1 \.mid, 1 \.kar for 'midifiles'.*--source"):
        detect_source(bundled, [str(music / "songs"), str(music / "shards")])


def test_a_folder_of_other_files_names_their_kinds(tmp_path: Path, bundled: Registry) -> None:
    for name in ("a.txt", "b.txt", "c.MP3", "LICENSE"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"\.mid.*only 2 \.txt, 1 \.mp3, 1 without an ending"):
        detect_source(bundled, [str(tmp_path)])
