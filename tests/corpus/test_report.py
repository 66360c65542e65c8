"""``midigpt corpus info | verify | clean`` as functions, and leakage."""

from __future__ import annotations

from pathlib import Path

import pytest

from midigpt_core.corpus import report
from midigpt_core.corpus.build import build
from midigpt_core.corpus.cache import cache_root, owned
from midigpt_core.corpus.format import DATA_NAME, SIDECAR_NAME
from midigpt_core.corpus.report import cached_shards, clean, info, leakage, verify
from midigpt_core.corpus.status import in_order
from midigpt_core.errors import CorpusError
from support.corpus import GIGAMIDI, SMALL, data_bytes, digests, small_rows, write_shard, write_shards


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_cache_root_is_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("MIDIGPT_CACHE")
    assert cache_root() == Path.home() / ".midigpt"


def test_info_adds_shards_up(tmp_path: Path, cache: Path) -> None:
    path = write_shard(tmp_path / "bad.parquet", [*small_rows(20), b"not MIDI", None])
    report = build(GIGAMIDI, [*write_shards(tmp_path, 2, 30), str(path)], cache=cache)
    found = info(report.shards)
    assert found.counts == report.counts
    assert found.examples == report.examples
    assert found.rows == report.rows == 82
    assert found.totals.pieces == 82
    assert found.sources == (str(tmp_path / "0.parquet"), str(tmp_path / "1.parquet"), str(path))
    assert sum(found.totals.signatures.values()) == found.totals.bars
    assert sum(found.totals.programs.values()) == found.totals.tracks
    assert found.disk_bytes >= sum(map(data_bytes, report.shards))
    assert sorted(cached_shards(cache)) == sorted(report.shards)


def test_verify_reports_each_damaged_shard(tmp_path: Path, cache: Path) -> None:
    shards = build(GIGAMIDI, write_shards(tmp_path, 3, 20), cache=cache).shards
    whole = verify(shards)
    assert (whole.shards, whole.damaged) == (3, ())
    assert whole.bytes_checked == sum(map(data_bytes, shards))
    damage(shards[1])
    shards[2].with_name(SIDECAR_NAME).unlink()
    found = verify(shards)
    assert len(found.damaged) == 2
    assert str(shards[1]) in found.damaged[0]
    assert str(shards[2].parent) in found.damaged[1]


def test_clean_removes_what_cannot_be_used_and_the_next_build_makes_it_again(tmp_path: Path, cache: Path) -> None:
    paths = write_shards(tmp_path, 3, 20)
    before = build(GIGAMIDI, paths, cache=cache)
    expected = digests(before)
    damage(before.shards[0])
    before.shards[1].with_name(SIDECAR_NAME).unlink()
    report = clean(cache)
    assert set(report.removed) == {before.shards[0].parent, before.shards[1].parent}
    assert (report.kept, report.busy) == (1, 0)
    assert report.bytes_freed > 0
    after = build(GIGAMIDI, paths, cache=cache)
    assert after.built == 2
    assert digests(after) == expected


def test_clean_leaves_what_is_being_written(tmp_path: Path, cache: Path) -> None:
    (shard,) = build(GIGAMIDI, write_shards(tmp_path, 1, 20), cache=cache).shards
    with owned(shard.parent, waiting=lambda: None):
        assert clean(cache, everything=True).busy == 1
    assert shard.exists()
    assert clean(cache, everything=True).removed == (shard.parent,)
    assert cached_shards(cache) == []
    assert clean(tmp_path / "nowhere").kept == 0


def test_clean_and_a_build_that_fails_meanwhile(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = build(GIGAMIDI, write_shards(tmp_path, 2, 20), cache=cache).shards
    gone = cache / "corpus" / "0"
    folders = report._folders

    def with_one_that_goes(root: Path) -> list[Path]:
        gone.mkdir()
        found = list(folders(root))
        gone.rmdir()
        return found

    monkeypatch.setattr(report, "_folders", with_one_that_goes)
    found = clean(cache)
    assert (found.removed, found.kept) == ((), 2)
    assert all(shard.exists() for shard in shards)


def test_leakage_is_by_music_not_by_name(tmp_path: Path, cache: Path) -> None:
    train = write_shard(tmp_path / "train.parquet", [SMALL[0], SMALL[1], b"bad", None], md5=["a", "b", "c", "d"])
    evaluation = write_shard(tmp_path / "eval.parquet", [SMALL[2], SMALL[1] + b"\0", b"bad", None], md5=list("efgh"))
    shards = [build(GIGAMIDI, [str(path)], cache=cache).shards for path in (train, evaluation)]
    found = leakage(*shards)
    assert found.pieces == 1
    assert found.eval_pieces == 2
    assert found.examples == (f"{evaluation}, row 1 (f) = {train}, row 1 (b)",)
    assert leakage(shards[0], shards[0]).pieces == 2
    nothing = build(GIGAMIDI, [str(write_shard(tmp_path / "no.parquet", [None]))], cache=cache).shards
    assert leakage(nothing, shards[0]).pieces == leakage(shards[0], nothing).pieces == 0


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no corpus here"):
        info([tmp_path / DATA_NAME])


def test_reasons_are_listed_in_one_order_whatever_came_first(tmp_path: Path, cache: Path) -> None:
    bad = [None, b"not MIDI", b"MThd", small_rows(1)[0]]
    orders = []
    for name, music in (("a", bad), ("b", bad[::-1])):
        first = write_shard(tmp_path / f"{name}1.parquet", music[:2])
        second = write_shard(tmp_path / f"{name}2.parquet", music[2:])
        built = build(GIGAMIDI, [str(first), str(second)], cache=cache)
        found = info(built.shards)
        assert list(found.counts) == list(built.counts)
        assert list(found.examples) == list(built.examples) == list(found.counts)[1:]
        orders.append(list(built.counts))
    assert orders[0] == orders[1]
    assert (orders[0][0], orders[0][-1]) == ("kept", "null_music")


def test_the_order_of_reasons() -> None:
    mixed = ["too_short", "crashed_sigsegv", "timeout", "no_header", "a_rule_of_the_source", "null_music", "kept"]
    assert list(in_order(dict.fromkeys(mixed, 1))) == [
        "kept",
        "no_header",
        "null_music",
        "timeout",
        "crashed_sigsegv",
        "a_rule_of_the_source",
        "too_short",
    ]
