"""The GigaMIDI source against real parquet files, well-formed and not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midigpt_gigamidi.plugin import midigpt_sources
from midigpt_gigamidi.rows import NO_NOTES, NO_TRACKS
from midigpt_gigamidi.source import _filter, build

from midigpt_core.contracts import RowBatch, Source, SourceContext, SourceShard
from midigpt_core.corpus.cache import FileHashes
from midigpt_core.errors import DataError
from midigpt_core.files import blake3_of


def source(*paths: Path | str) -> Source:
    return build(None, SourceContext(paths=tuple(str(path) for path in paths)))


def write(path: Path, row_group_size: int = 1000, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size, write_page_checksum=True)
    return path


def batches(path: Path) -> list[RowBatch]:
    (shard,) = source(path).shards()
    return list(shard.batches())


def only_batch(path: Path) -> RowBatch:
    (batch,) = batches(path)
    return batch


def test_satisfies_the_contract(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", music=[b"one", b"two"])
    found = source(path)
    (shard,) = found.shards()
    assert isinstance(found, Source)
    assert isinstance(shard, SourceShard)
    assert shard.name == str(path)
    assert shard.num_rows() == 2


def test_plugin_module_is_light() -> None:
    (spec,) = midigpt_sources()
    assert spec.name == "gigamidi"
    heavy = "import sys, midigpt_gigamidi.plugin; sys.exit(any(m in sys.modules for m in ('pyarrow', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", heavy], check=False).returncode == 0


class TestPaths:
    def names(self, *paths: Path | str) -> list[str]:
        return [Path(shard.name).name for shard in source(*paths).shards()]

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("train/b.parquet", "train/a.parquet", "valid/c.parquet", "odd[1].parquet"):
            write(tmp_path / name, music=[b"x"])
        (tmp_path / "train" / "notes.txt").write_text("not data")
        return tmp_path

    def test_files_keep_the_order_they_were_given_in(self, folder: Path) -> None:
        assert self.names(folder / "train/b.parquet", folder / "train/a.parquet") == ["b.parquet", "a.parquet"]

    def test_a_folder_gives_its_shards_sorted(self, folder: Path) -> None:
        assert self.names(folder) == ["odd[1].parquet", "a.parquet", "b.parquet", "c.parquet"]

    def test_a_glob_gives_its_matches_sorted(self, folder: Path) -> None:
        assert self.names(f"{folder}/train/*.parquet") == ["a.parquet", "b.parquet"]
        assert self.names(f"{folder}/**/*.parquet") == ["odd[1].parquet", "a.parquet", "b.parquet", "c.parquet"]

    def test_a_name_with_glob_characters_is_a_file(self, folder: Path) -> None:
        assert self.names(folder / "odd[1].parquet") == ["odd[1].parquet"]

    def test_a_file_named_twice_is_read_once(self, folder: Path) -> None:
        (folder / "link.parquet").symlink_to(folder / "train/a.parquet")
        assert self.names(folder / "train/a.parquet", f"{folder}/train/*", folder / "link.parquet")[:2] == [
            "a.parquet",
            "b.parquet",
        ]

    @pytest.mark.parametrize("path", ["missing.parquet", "missing/*.parquet", "empty", "train/*.mid"])
    def test_a_path_to_nowhere_is_named(self, folder: Path, path: str) -> None:
        (folder / "empty").mkdir()
        with pytest.raises(DataError, match=r"\.$") as error:
            source(folder / path).shards()
        assert str(folder / path) in str(error.value)

    def test_no_paths(self) -> None:
        with pytest.raises(DataError, match="name at least one"):
            source().shards()


class TestColumns:
    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
    def test_music_as_bytes(self, tmp_path: Path, kind: pa.DataType) -> None:
        batch = only_batch(write(tmp_path / "a.parquet", music=pa.array([b"one", None, b""], kind)))
        assert batch.midi.type == pa.large_binary()
        assert batch.midi.to_pylist() == [b"one", None, b""]
        assert batch.row.tolist() == [0, 1, 2]
        assert batch.ids.to_pylist() == [None] * 3
        assert batch.genre is None
        assert batch.nomml is None

    def test_music_as_struct(self, tmp_path: Path) -> None:
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        music = pa.array([{"bytes": b"one", "path": "p"}, {"bytes": None, "path": "q"}, None], kind)
        assert only_batch(write(tmp_path / "a.parquet", music=music)).midi.to_pylist() == [b"one", None, None]

    @pytest.mark.parametrize("width", [pa.int8(), pa.uint16(), pa.int32(), pa.int64(), pa.uint64()])
    def test_rows_without_notes_are_dropped_and_counted(self, tmp_path: Path, width: pa.DataType) -> None:
        notes = pa.array([3, 0, None, 0, 1], width)
        path = write(tmp_path / "a.parquet", music=[b"a", b"b", b"c", b"d", b"e"], md5=list("ABCDE"), total_notes=notes)
        batch = only_batch(path)
        assert batch.midi.to_pylist() == [b"a", b"c", b"e"]
        assert batch.ids.to_pylist() == ["A", "C", "E"]
        assert batch.row.tolist() == [0, 2, 4]
        assert batch.dropped == {NO_NOTES: 2}

    @pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.struct({"bytes": pa.binary()})])
    @pytest.mark.parametrize("nulls", [False, True])
    def test_what_stays_of_the_music_is_what_a_filter_leaves(
        self, tmp_path: Path, kind: pa.DataType, *, nulls: bool
    ) -> None:
        generator = np.random.default_rng(7)
        for share in (0.0, 0.1, 0.5, 0.9, 1.0):
            files = [generator.bytes(int(size)) for size in generator.integers(0, 3000, 700)]
            files = [None if nulls and index % 9 == 0 else file for index, file in enumerate(files)]
            notes = (generator.random(700) < share).astype(int).tolist()
            music = [{"bytes": file} for file in files] if pa.types.is_struct(kind) else files
            path = write(tmp_path / "a.parquet", music=pa.array(music, kind), total_notes=notes)
            found = batches(path)
            assert len(found) == 3
            assert [one for batch in found for one in batch.midi.to_pylist()] == [
                file for file, count in zip(files, notes, strict=True) if count
            ]
            assert [row for batch in found for row in batch.row.tolist()] == np.flatnonzero(notes).tolist()
            assert sum(batch.dropped.get(NO_NOTES, 0) for batch in found) == notes.count(0)

    @pytest.mark.parametrize("nulls", [False, True])
    def test_part_of_an_array_is_filtered_as_arrow_does(self, *, nulls: bool) -> None:
        generator = np.random.default_rng(3)
        files = [None if nulls and index % 7 == 0 else generator.bytes(index % 50) for index in range(200)]
        whole = pa.array(files, pa.large_binary())
        for first, last in ((0, 200), (13, 200), (13, 14), (50, 50), (7, 190)):
            part = whole.slice(first, last - first)
            for share in (0.0, 0.3, 1.0):
                keep = generator.random(len(part)) < share
                found = _filter(part, keep)
                found.validate(full=True)
                assert found.equals(part.filter(pa.array(keep)))

    def test_a_row_without_tracks_is_dropped_under_one_reason(self, tmp_path: Path) -> None:
        counts = {"num_tracks": [0, 2, None, 1], "total_notes": [0, 0, 5, None]}
        batch = only_batch(write(tmp_path / "a.parquet", music=[b"a", b"b", b"c", b"d"], **counts))
        assert batch.row.tolist() == [2, 3]
        assert batch.dropped == {NO_TRACKS: 1, NO_NOTES: 1}

    def test_styles_are_decoded(self, tmp_path: Path) -> None:
        styles = ["Rock%2C%20drum%20n%20bass%2C", None, "", "pop,pop-rock", "caf%C3%A9"]
        path = write(tmp_path / "a.parquet", music=[b"x"] * 5, music_style_scraped=styles)
        genre = only_batch(path).genre
        assert genre is not None
        assert genre.to_pylist() == ["Rock,drum n bass", None, "", "pop,pop-rock", "café"]

    def test_nomml(self, tmp_path: Path) -> None:
        levels = pa.array([[1, -1], None, []], pa.list_(pa.int16()))
        nomml = only_batch(write(tmp_path / "a.parquet", music=[b"x"] * 3, NOMML=levels)).nomml
        assert nomml is not None
        assert nomml.to_pylist() == [[1, -1], None, []]

    def test_text_that_is_no_utf8_costs_no_row(self, tmp_path: Path) -> None:
        bad = pa.array([b"ok", b"\xff\xfe"], pa.binary()).view(pa.string())
        batch = only_batch(write(tmp_path / "a.parquet", music=[b"x", b"y"], md5=bad))
        assert batch.ids.to_pylist() == ["ok", "\ufffd\ufffd"]

    def test_dictionary_encoded_text(self, tmp_path: Path) -> None:
        ids = pa.array(["a", "b", None]).dictionary_encode()
        assert only_batch(write(tmp_path / "a.parquet", music=[b"x"] * 3, md5=ids)).ids.to_pylist() == ["a", "b", None]

    def test_rows_come_in_order_over_row_groups_in_bounded_batches(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", row_group_size=700, music=[b"%d" % row for row in range(2000)])
        found = batches(path)
        assert np.concatenate([batch.row for batch in found]).tolist() == list(range(2000))
        assert [bytes(value) for batch in found for value in batch.midi.to_pylist()] == [b"%d" % r for r in range(2000)]
        assert max(len(batch.row) for batch in found) <= 256

    def test_no_rows(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", music=pa.array([], pa.binary()))
        assert sum(len(batch.row) for batch in batches(path)) == 0

    @pytest.mark.parametrize(
        ("column", "values"),
        [
            ("music", ["text"]),
            ("music", [1]),
            ("music", pa.array([{"path": "p"}])),
            ("music", pa.array([{"bytes": "text"}])),
        ],
    )
    def test_music_of_the_wrong_kind_is_named(self, tmp_path: Path, column: str, values: Any) -> None:
        path = write(tmp_path / "a.parquet", **{"music": [b"x"], column: values})
        with pytest.raises(DataError) as error:
            batches(path)
        assert str(path) in str(error.value)
        assert f"column {column!r}" in str(error.value)

    def test_missing_music_is_named_with_what_there_is(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.parquet", md5=["a"], midi=[b"x"])
        with pytest.raises(DataError, match=r"no column 'music' \(columns: md5, midi\)"):
            batches(path)


class TestDamage:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        generator = np.random.Generator(np.random.Philox(1))
        return write(tmp_path / "a.parquet", row_group_size=50, music=[generator.bytes(500) for _ in range(200)])

    @pytest.mark.parametrize("keep", [0, 3, 1000, -1])
    def test_a_truncated_file_is_named(self, path: Path, keep: int) -> None:
        path.write_bytes(path.read_bytes()[:keep])
        (shard,) = source(path).shards()
        with pytest.raises(DataError, match="not a readable parquet file") as error:
            shard.num_rows()
        assert str(path) in str(error.value)

    def test_a_file_without_permission_is_not_called_damaged(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise PermissionError(13, "Permission denied")

        # Permissions do not apply to root, as in many containers.
        monkeypatch.setattr(pq, "ParquetFile", refuse)
        (shard,) = source(path).shards()
        with pytest.raises(DataError, match=r"a\.parquet: cannot be read \(Permission denied\)"):
            shard.num_rows()

    def test_a_file_of_another_kind_is_named(self, path: Path) -> None:
        path.write_text("name,music\n")
        with pytest.raises(DataError, match="not a readable parquet file"):
            batches(path)

    @pytest.mark.parametrize("group", [0, 2])
    def test_a_damaged_row_group_is_named_and_those_before_are_read(self, path: Path, group: int) -> None:
        column = pq.ParquetFile(path).metadata.row_group(group).column(0)
        content = bytearray(path.read_bytes())
        content[column.dictionary_page_offset + column.total_compressed_size // 2] ^= 0xFF
        path.write_bytes(content)
        (shard,) = source(path).shards()
        rows = 0
        with pytest.raises(DataError, match=f"row group {group} cannot be read") as error:
            for batch in shard.batches():
                rows += len(batch.row)
        assert str(path) in str(error.value)
        assert rows == 50 * group

    def test_a_file_that_vanishes(self, path: Path) -> None:
        (shard,) = source(path).shards()
        path.unlink()
        with pytest.raises(DataError, match="cannot be read"):
            shard.fingerprint()
        with pytest.raises(DataError, match="not a readable parquet file"):
            list(shard.batches())


def test_corpora_of_the_columns_that_were_always_read_keep_their_fingerprint(tmp_path: Path) -> None:
    old = write(tmp_path / "a.parquet", music=[b"x"], md5=["a"], NOMML=[[1]], music_style_scraped=["rock"])
    (shard,) = source(old).shards()
    assert shard.fingerprint() == blake3_of(old)
    new = write(tmp_path / "b.parquet", music=[b"x"], music_styles_curated=[["rock"]])
    (shard,) = source(new).shards()
    assert shard.fingerprint() != blake3_of(new)


def test_fingerprint_is_the_content(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, music=[b"x"]) for name in ("a.parquet", "b.parquet")]
    paths.append(write(tmp_path / "c.parquet", music=[b"y"]))
    first, second, third = (shard.fingerprint() for shard in source(*paths).shards())
    assert first == second != third
    os.utime(paths[0])
    assert source(paths[0]).shards()[0].fingerprint() == first


def test_the_columns_are_read_once_for_the_fingerprints_of_all_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr("midigpt_gigamidi.source.check_footer", read.append)

    def fingerprint(path: Path, *, verify: bool = False) -> str:
        hashes = FileHashes(tmp_path / "cache", verify=verify)
        context = SourceContext(paths=(str(path),), hash_file=hashes, remember=hashes.fact)
        read.clear()
        return build(None, context).shards()[0].fingerprint()

    old = write(tmp_path / "a.parquet", music=[b"x"], music_style_scraped=["rock"])
    new = write(tmp_path / "b.parquet", music=[b"x"], music_styles_curated=[["rock"]])
    for path in (old, new):
        first = fingerprint(path)
        assert read == [path]
        assert (fingerprint(path), read) == (first, [])
        assert (fingerprint(path, verify=True), read) == (first, [path])
    # What was remembered of a file is not taken for the content that replaces it.
    new.replace(old)
    assert (fingerprint(old), read) == (first, [old])
    # A damaged memory is not an answer.
    (memory,) = [one for one in (tmp_path / "cache" / "hashes").iterdir() if str(old) in one.read_text()]
    stored = json.loads(memory.read_text())
    for schema in ("AAAA", "not base64", 7, None):
        memory.write_text(json.dumps({**stored, "facts": {"schema": schema}}))
        assert (fingerprint(old), read) == (first, [old])
        # The next run finds what this one read.
        assert json.loads(memory.read_text()) == stored
        assert (fingerprint(old), read) == (first, [])


def test_a_column_that_stands_twice_is_named(tmp_path: Path) -> None:
    music = pa.array([b"one", b"two"])
    twice = pa.table([music, music], names=["music", "music"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: .*column.* 'music'.* Rename"):
        batches(tmp_path / "a.parquet")
    inner = pa.StructArray.from_arrays([music, music], ["bytes", "bytes"])
    names = pa.array(["x", "y"])
    pq.write_table(pa.table([inner, names, names], names=["music", "md5", "md5"]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet: more than one column is called 'md5'"):
        batches(tmp_path / "b.parquet")
    pq.write_table(pa.table([inner, names], names=["music", "md5"]), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c\.parquet: more than one column is called 'music\.bytes'"):
        batches(tmp_path / "c.parquet")


def test_other_columns_may_stand_twice(tmp_path: Path) -> None:
    music = pa.array([b"one", b"two"])
    pq.write_table(pa.table([music, music, music], names=["music", "x", "x"]), tmp_path / "a.parquet")
    assert only_batch(tmp_path / "a.parquet").midi.to_pylist() == [b"one", b"two"]
