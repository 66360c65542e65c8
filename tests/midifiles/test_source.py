"""The source of MIDI files in folders, against real folders, well kept and not."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pyarrow as pa
import pytest
from midigpt_midifiles import files
from midigpt_midifiles import source as midifiles
from midigpt_midifiles.options import MidiFilesOptions
from midigpt_midifiles.source import MidiFiles

from midigpt_core.components import ComponentRef
from midigpt_core.contracts import RowBatch, SourceContext
from midigpt_core.corpus.build import build, locate_named
from midigpt_core.corpus.report import info
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import ConfigError, DataError
from midigpt_core.score import Score

if TYPE_CHECKING:
    from midigpt_core.corpus.conditions import Condition

MUSIC = [path.read_bytes() for path in sorted((Path(__file__).resolve().parents[1] / "data" / "midi").glob("*.mid"))]
SOURCE = ComponentRef(kind="source", name="midifiles", target="midigpt_midifiles.source:build")


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def write(folder: Path, names: list[str]) -> Path:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MUSIC[number % len(MUSIC)])
    return folder


def shards(*paths: Path | str) -> list[midifiles.MidiFilesShard]:
    return list(midifiles.build(None, SourceContext(paths=tuple(map(str, paths)))).shards())


def rows(*paths: Path | str) -> list[RowBatch]:
    return [batch for shard in shards(*paths) for batch in shard.batches()]


def ids(*paths: Path | str) -> list[str]:
    return [name for batch in rows(*paths) for name in batch.ids.to_pylist()]


def test_a_folder_is_read_to_its_depths(tmp_path: Path) -> None:
    write(tmp_path, ["b.mid", "a.MIDI", "deep/er/c.kar", "deep/d.Mid", "cover.png", "a.mid.txt"])
    assert ids(tmp_path) == ["a.MIDI", "b.mid", "deep/d.Mid", "deep/er/c.kar"]
    (batch,) = rows(tmp_path)
    assert batch.row.tolist() == [0, 1, 2, 3]
    assert batch.midi.type == pa.large_binary()
    assert batch.midi[1].as_py() == (tmp_path / "b.mid").read_bytes()
    assert (batch.genre, batch.nomml, batch.dropped) == (None, None, {})


def with_options(**options: Any) -> ComponentRef:
    return attrs.evolve(SOURCE, options_class="midigpt_midifiles.options:MidiFilesOptions", options=options)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (["path < b"], ["a.mid"]),
        (["path >= b", 'path != "deep/c.mid"', "path < t"], ["b.mid"]),
        (["bytes < 8"], ["tiny.mid"]),
        (["path == nothing"], []),
    ],
)
def test_files_are_kept_by_path_and_size(tmp_path: Path, cache: Path, where: list[str], kept: list[str]) -> None:
    """In folders and in archives; the others are counted, and a corpus without conditions is another one."""
    songs = write(tmp_path / "songs", ["a.mid", "b.mid", "deep/c.mid"])
    (songs / "tiny.mid").write_bytes(b"MThd")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.write(songs / "a.mid", "a.mid")
    ref = with_options(where=where)
    found = [batch for shard in MidiFiles(SourceContext(paths=(str(songs),)), conditions_of(where)).shards()
             for batch in shard.batches()]  # fmt: skip
    assert [name for batch in found for name in batch.ids.to_pylist()] == kept
    report = build(ref, [str(songs)], cache=cache)
    assert report.counts["where"] == 4 - len(kept)
    inside = build(with_options(where=["path == more.zip/a.mid"]), [str(tmp_path / "more.zip")], cache=cache)
    assert inside.counts == {"kept": 1}
    outside = build(with_options(where=["path != more.zip/a.mid"]), [str(tmp_path / "more.zip")], cache=cache)
    assert outside.counts == {"where": 1}
    assert build(SOURCE, [str(songs)], cache=cache).counts["kept"] == 3


def conditions_of(where: list[str]) -> tuple[Condition, ...]:
    return MidiFilesOptions(where=tuple(where)).conditions


def test_a_condition_on_what_files_do_not_have_is_refused(tmp_path: Path, cache: Path) -> None:
    write(tmp_path, ["a.mid"])
    for where, problem in (
        ("byte > 3", r"no column 'byte'\. Did you mean 'bytes'\? MIDI files have no metadata but path and bytes"),
        ("artist == x", r"no column 'artist'\. MIDI files have no metadata"),
        ("path > 3", r"column 'path' has values of type string, which cannot be compared with 3"),
    ):
        with pytest.raises((ConfigError, DataError), match=problem):
            build(with_options(where=[where]), [str(tmp_path)], cache=cache)


def test_a_file_that_goes_before_it_is_read_is_named(tmp_path: Path) -> None:
    write(tmp_path, ["a.mid", "b.mid"])
    (shard,) = shards(tmp_path)
    shard.fingerprint()
    (tmp_path / "b.mid").unlink()
    with pytest.raises(DataError, match=r"b\.mid: cannot be read \(No such file"):
        list(shard.batches())


def test_batches_are_bounded_in_files_and_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, [f"{n:03}.mid" for n in range(20)])
    monkeypatch.setattr(files, "BATCH_FILES", 8)
    assert [len(batch.row) for batch in rows(tmp_path)] == [8, 8, 4]
    assert np.concatenate([batch.row for batch in rows(tmp_path)]).tolist() == list(range(20))
    monkeypatch.setattr(files, "BATCH_BYTES", 1)
    assert [len(batch.row) for batch in rows(tmp_path)] == [1] * 20


def test_no_more_of_a_giant_file_is_read_than_it_takes_to_refuse_it(tmp_path: Path, cache: Path) -> None:
    write(tmp_path, ["a.mid"])
    with (tmp_path / "giant.mid").open("wb") as stream:
        stream.write(MUSIC[0])
        stream.truncate(1 << 32)
    (batch,) = rows(tmp_path)
    assert len(batch.midi[1].as_py()) == (16 << 20) + 1
    assert build(SOURCE, [str(tmp_path)], cache=cache).counts == {"kept": 1, "file_too_large": 1}


def test_names_that_are_no_utf8_are_rows_under_escaped_names(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / os.fsdecode(b"\xff.mid")).write_bytes(MUSIC[0])
    (folder / os.fsdecode(b"no\xe9.mid")).write_bytes(b"no music")
    assert ids(folder) == [r"no\xe9.mid", r"\xff.mid"]
    report = build(SOURCE, [str(folder)], cache=cache)
    assert report.counts == {"kept": 1, "no_header": 1}
    assert r"caf\xe9/no\xe9.mid and 1 more: row 0 (no\xe9.mid), byte 0" in report.examples["no_header"][0]


def test_files_by_folder_pattern_or_elsewhere_are_the_same_shard(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "one", ["a.mid", "in/b.mid"])
    identity = open_corpus(build(SOURCE, [str(tmp_path / "one")], cache=cache).shards).fingerprint
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").rename("two")
    for path in ("two", "two/**/*.mid", f"{tmp_path}/two/**/*"):
        report = build(SOURCE, [path], cache=cache)
        assert report.built == 0
        assert open_corpus(report.shards).fingerprint == identity


def test_a_file_that_changes_between_hash_and_rows_is_named(tmp_path: Path, cache: Path) -> None:
    write(tmp_path, ["a.mid", "b.mid"])
    (shard,) = shards(tmp_path)
    shard.fingerprint()
    (tmp_path / "b.mid").write_bytes(MUSIC[3])
    with pytest.raises(DataError, match=r"b\.mid: .*changed while it was read"):
        list(shard.batches())
    assert shard.fingerprint() == shards(tmp_path)[0].fingerprint()


def test_a_changed_file_is_another_shard(tmp_path: Path) -> None:
    write(tmp_path, ["a.mid", "b.mid"])
    (before,) = shards(tmp_path)
    again = shards(tmp_path)[0].fingerprint()
    assert before.fingerprint() == again
    changed = bytearray((tmp_path / "a.mid").read_bytes())
    changed[-1] ^= 1
    status = (tmp_path / "a.mid").stat()
    (tmp_path / "a.mid").write_bytes(changed)
    # As archives leave them: same name, size and time.
    os.utime(tmp_path / "a.mid", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert shards(tmp_path)[0].fingerprint() != again


def test_a_copy_is_the_same_shard(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "one", ["a.mid", "b.mid"])
    build(SOURCE, [str(tmp_path / "one")], cache=cache)
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)
    assert build(SOURCE, [str(tmp_path / "two")], cache=cache).built == 0


def test_what_slides_from_one_file_into_the_next_is_seen(tmp_path: Path) -> None:
    for folder, contents in (("one", (b"ab", b"c")), ("two", (b"a", b"bc"))):
        (tmp_path / folder).mkdir()
        for name, content in zip(("x.mid", "y.mid"), contents, strict=True):
            (tmp_path / folder / name).write_bytes(content)
    assert shards(tmp_path / "one")[0].fingerprint() != shards(tmp_path / "two")[0].fingerprint()


def test_what_cannot_be_read_is_a_row_under_its_reason(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, ["a.mid", "locked/x.mid", "vanished/y.mid", "z.mid"])
    (tmp_path / "b.mid").symlink_to(tmp_path / "gone.mid")
    (tmp_path / "loop.mid").symlink_to(tmp_path / "loop.mid")
    original = os.scandir

    def scandir(path: Any) -> Any:
        """The user who runs the tests may be allowed everything, so the system's answer is ours."""
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        if Path(path).name == "vanished" and Path(path).exists():
            (Path(path) / "y.mid").unlink()
            Path(path).rmdir()
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = build(SOURCE, [str(tmp_path)], cache=cache)
    assert report.counts == {"kept": 2, "unreadable": 4}
    named = " ".join(report.examples["unreadable"])
    assert f"{tmp_path}/a.mid and 3 more: row 1 (b.mid: No such file or directory)" in named
    assert "(locked: a folder that cannot be searched)" in named
    assert "(loop.mid: Too many levels of symbolic links)" in named
    # What can be read again is another shard.
    (tmp_path / "gone.mid").write_bytes(MUSIC[7])
    assert build(SOURCE, [str(tmp_path)], cache=cache).counts["kept"] > 2


def test_a_file_without_permission_is_a_row(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, ["a.mid", "locked.mid", "locked.zip"])
    original = os.open

    def refuse(path: Any, *arguments: Any, **more: Any) -> Any:
        if Path(path).stem == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse)
    report = build(SOURCE, [str(tmp_path)], cache=cache)
    assert report.counts == {"kept": 1, "unreadable": 2}
    assert "(locked.mid: Permission denied)" in " ".join(report.examples["unreadable"])


def test_other_kinds_of_file_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, ["a.mid", "cover.JPG", "sub/back.jpg", "LICENSE", ".hidden.txt"])
    shards(tmp_path)
    assert "3 files are not MIDI and are left out: 2 .jpg, 1 without a suffix." in caplog.text


def test_a_new_file_leaves_the_other_shards_as_they_are(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(midifiles, "SHARD_FILES", 8)
    write(tmp_path / "songs", [f"{n:03}.mid" for n in range(100)])
    before = build(SOURCE, [str(tmp_path / "songs")], cache=cache)
    assert before.built == len(before.shards) > 5
    write(tmp_path / "songs", ["0505.mid"])
    after = build(SOURCE, [str(tmp_path / "songs")], cache=cache)
    assert after.built <= 2
    assert after.rows == before.rows + 1 == 101
    (tmp_path / "songs" / "0505.mid").unlink()
    assert build(SOURCE, [str(tmp_path / "songs")], cache=cache).built == 0


def test_shards_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(midifiles, "MOST_SHARD_FILES", 3)
    write(tmp_path, [f"{n}.mid" for n in range(8)])
    assert sum(len(shard.files) for shard in shards(tmp_path)) == 8
    assert max(len(shard.files) for shard in shards(tmp_path)) == 3
    names = [shard.name for shard in shards(tmp_path)]
    assert len(set(names)) == len(names)


def test_what_is_no_midi_is_counted_and_named(tmp_path: Path, cache: Path) -> None:
    write(tmp_path, ["a.mid", "b.mid"])
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "junk.mid").write_bytes(b"junk")
    (tmp_path / "empty.mid").write_bytes(b"")
    report = build(SOURCE, [str(tmp_path)], cache=cache)
    assert report.counts["kept"] == 2
    assert report.rows == 4
    assert any("(sub/junk.mid)" in example for example in report.examples["no_header"])
    assert info(report.shards).totals.notes == sum(
        len(track_bar.notes.pitch)
        for name in ("a.mid", "b.mid")
        for track in Score.from_midi(tmp_path / name).tracks
        for track_bar in track.bars
    )


def test_messages_name_the_paths_of_this_run(tmp_path: Path, cache: Path) -> None:
    """The corpus was built from a copy elsewhere."""
    write(tmp_path / "theirs", ["a.mid", "b.mid"])
    (tmp_path / "theirs" / "c.mid").write_bytes(b"junk")
    build(SOURCE, [str(tmp_path / "theirs")], cache=cache)
    (tmp_path / "theirs").rename(tmp_path / "mine")
    report = build(SOURCE, [str(tmp_path / "mine")], cache=cache)
    assert report.built == 0
    assert all("mine/a.mid" in source for source in report.sources)
    opened = open_corpus(report.shards, report.sources)
    assert "mine/a.mid" in opened.describe(0)
    assert all("mine/a.mid" in example for example in info(report.shards, report.sources).examples["no_header"])
    located = locate_named(SOURCE, [str(tmp_path / "mine")], cache=cache)
    assert located == list(zip(report.shards, report.sources, strict=True))
