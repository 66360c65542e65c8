"""The checks of the kit, and what is read from an archive."""

import tarfile
from pathlib import Path

import pytest

from midigpt_core.contracts import SourceContext
from midigpt_core.errors import DataError
from midigpt_core.testing import parametrize_with_checks
from midigpt_plugin_webdataset import source
from midigpt_plugin_webdataset.source import Options, build

DATA = Path(__file__).parent / "data"


@parametrize_with_checks("webdataset", paths={"webdataset": [str(DATA)]})
def test_webdataset(check):
    check()


def rows(path, options=None):
    (shard,) = build(options or Options(), SourceContext(paths=(str(path),))).shards()
    return list(shard.batches())


def test_a_sample_is_a_row_with_its_style():
    (batch,) = rows(DATA / "songs.tar")
    assert batch.row.tolist() == [0, 1, 2]
    assert batch.ids.to_pylist() == ["songs/000", "songs/001", "songs/900"]
    assert batch.genre.to_pylist() == ["folk", "folk,waltz", "no music"]
    assert [midi is not None and midi[:4] == b"MThd" for midi in batch.midi.to_pylist()] == [True, True, False]
    assert (batch.dropped, batch.dropped_rows) == ({"wrong_json": 1}, {"wrong_json": [(3, "songs/901")]})
    (without,) = rows(DATA / "songs.tar", Options(genre=""))
    assert without.genre.to_pylist() == [None] * 4


def test_a_large_member_is_dropped_and_a_damaged_archive_named(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MOST_BYTES", 10)
    (batch,) = rows(DATA / "songs.tar")
    assert batch.dropped == {"too_large": 4}
    damaged = tmp_path / "damaged.tar"
    damaged.write_bytes((DATA / "songs.tar").read_bytes()[:700])
    with pytest.raises(DataError, match=r"damaged\.tar: cannot be read as a tar archive .* Fetch it again\."):
        rows(damaged)
    with pytest.raises(DataError, match="there is no archive"):
        rows(tmp_path / "absent.tar")
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    assert rows(tmp_path / "empty.tar") == []
