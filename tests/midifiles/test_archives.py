"""MIDI files in archives, in folders of them and named directly, as rows of a corpus."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest
from midigpt_midifiles import archive_shards
from midigpt_midifiles.source import build as build_source

from midigpt_core.components import ComponentRef
from midigpt_core.contracts import SourceContext, SourceShard
from midigpt_core.corpus.build import build
from midigpt_core.corpus.report import leakage
from midigpt_core.errors import DataError
from support.songs import in_riff

MUSIC = [path.read_bytes() for path in sorted((Path(__file__).resolve().parents[1] / "data" / "midi").glob("*.mid"))]
SOURCE = ComponentRef(kind="source", name="midifiles", target="midigpt_midifiles.source:build")


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def write_zip(path: Path, names: list[str], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for number, name in enumerate(names):
            archive.writestr(name, MUSIC[number % len(MUSIC)])
    return path


def shards(*paths: Path) -> list[SourceShard]:
    return list(build_source(None, SourceContext(paths=tuple(map(str, paths)))).shards())


def ids(*paths: Path) -> list[str]:
    return [name for shard in shards(*paths) for batch in shard.batches() for name in batch.ids.to_pylist()]


def encrypt(path: Path, name: str) -> None:
    data = bytearray(path.read_bytes())
    data[data.rindex(name.encode()) - 46 + 8] |= 1
    path.write_bytes(data)


def test_archives_are_read_like_folders(tmp_path: Path, cache: Path) -> None:
    names = [f"{n}.mid" for n in range(12)]
    (tmp_path / "songs").mkdir()
    for name, data in zip(names, MUSIC, strict=False):
        (tmp_path / "songs" / name).write_bytes(data)
    folder = build(SOURCE, [str(tmp_path / "songs")], cache=cache)
    write_zip(tmp_path / "a.zip", names)
    with zipfile.ZipFile(tmp_path / "outer.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        outer.write(tmp_path / "a.zip", "inner.zip")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "songs", "songs")
    for name in ("a.zip", "outer.zip", "a.tar.gz"):
        report = build(SOURCE, [str(tmp_path / name)], cache=cache)
        assert report.counts == folder.counts
        shared = leakage(folder.shards, report.shards)
        assert shared.pieces == shared.eval_pieces > 0


def test_a_folder_may_hold_files_and_archives(tmp_path: Path) -> None:
    (tmp_path / "b.mid").write_bytes(MUSIC[0])
    (tmp_path / "notes.gz").write_bytes(b"no tar")
    write_zip(tmp_path / "a.ZIP", ["x/1.mid", "2.kar", "cover.png"])
    assert ids(tmp_path) == ["b.mid", "a.ZIP/x/1.mid", "a.ZIP/2.kar"]
    assert ids(tmp_path / "a.ZIP") == ["a.ZIP/x/1.mid", "a.ZIP/2.kar"]


def test_what_cannot_be_read_is_a_row_under_its_reason(tmp_path: Path, cache: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["a.mid", "b.mid", "c.mid"])
    encrypt(path, "b.mid")
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "d.mid").write_bytes(MUSIC[0])
    report = build(SOURCE, [str(tmp_path)], cache=cache)
    assert report.counts == {"kept": 3, "damaged_archive": 1, "encrypted": 1}
    assert report.examples["encrypted"] == [f"{path}/a.mid and 2 more: row 1 (a.zip/b.mid)"]
    assert report.examples["damaged_archive"] == [f"{tmp_path}/bad.zip: row 0 (bad.zip)"]


def test_shards_are_bounded_and_keep_their_corpora(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_shards, "MOST_SHARD_FILES", 3)
    path = write_zip(tmp_path / "a.zip", [f"{n}.mid" for n in range(8)])
    assert [shard.num_rows() for shard in shards(path)] == [3, 3, 2]
    assert len({shard.name for shard in shards(path)}) == 3
    assert build(SOURCE, [str(path)], cache=cache).built == 3
    assert build(SOURCE, [str(path)], cache=cache).built == 0
    path.rename(tmp_path / "b.zip")
    assert build(SOURCE, [str(tmp_path / "b.zip")], cache=cache).built == 3


def test_an_archive_that_changes_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", ["a.mid", "b.mid"])
    (shard,) = shards(path)
    before = shard.fingerprint()
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"a\.zip: was changed or replaced while it was read"):
        list(shard.batches())
    assert shard.fingerprint() != before
    path.unlink()
    with pytest.raises(DataError, match=r"a\.zip: cannot be read"):
        shard.fingerprint()


def test_other_kinds_of_file_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_zip(tmp_path / "a.zip", ["a.mid", "1.jpg", "2.jpg", "README"])
    shards(tmp_path)
    assert "3 files are not MIDI and are left out: 2 .jpg, 1 without a suffix." in caplog.text


def test_rmi_is_the_midi_file_in_it(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "a.rmi").write_bytes(in_riff(MUSIC[0]))
    (tmp_path / "b.rmi").write_bytes(b"RIFF\0\0\0\0RMIDdata")
    report = build(SOURCE, [str(tmp_path)], cache=cache)
    assert report.counts == {"kept": 1, "no_header": 1}


def test_shards_are_sent_to_other_processes(tmp_path: Path) -> None:
    write_zip(tmp_path / "in.zip", ["a.mid", "b.mid"])
    with zipfile.ZipFile(tmp_path / "outer.zip", "w", zipfile.ZIP_DEFLATED) as outer:
        outer.write(tmp_path / "in.zip", "in.zip")
    for shard in shards(tmp_path / "outer.zip"):
        sent = pickle.loads(pickle.dumps(shard))
        assert sent.fingerprint() == shard.fingerprint()
        assert [batch.midi for batch in sent.batches()] == [batch.midi for batch in shard.batches()]
