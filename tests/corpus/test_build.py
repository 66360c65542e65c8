"""From parquet to corpus: content, counts, caching, isolation."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from midigpt_gigamidi import source as gigamidi

from midigpt_core import files
from midigpt_core.components import ComponentRef
from midigpt_core.corpus import build as build_module
from midigpt_core.corpus import writer
from midigpt_core.corpus.build import BuildProgress, build, locate
from midigpt_core.corpus.format import SIDECAR_NAME, Buffer, arrow_dtypes, column_file, filed_dtypes
from midigpt_core.corpus.report import clean
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import ComponentError, CorpusError, DataError
from midigpt_core.files import StagedFile, WriteError
from midigpt_core.score import Score
from support.corpus import GIGAMIDI, MIDI, SMALL, content, data_bytes, digests, small_rows, write_shard, write_shards
from support.parsers import EXIT, HANG, MEMORY, RAISE, SEGFAULT

if TYPE_CHECKING:
    from collections.abc import Callable


def test_golden_files_end_to_end(tmp_path: Path, cache: Path) -> None:
    """Every real file comes out of the corpus as the reader reads it alone, with its name, row and style."""
    files = [path.read_bytes() for path in MIDI]
    path = write_shard(
        tmp_path / "a.parquet",
        files,
        md5=[path.stem for path in MIDI],
        music_style_scraped=[f"style%20{n}" for n in range(len(MIDI))],
    )
    report = build(GIGAMIDI, [str(path)], cache=cache)
    assert report.counts == {"kept": len(MIDI)}
    opened = open_corpus(report.shards)
    opened.verify(np.arange(len(MIDI)))
    (shard,) = opened.corpus.shards
    columns, pieces = shard.columns, shard.pieces
    assert pieces.row.tolist() == list(range(len(MIDI)))
    for index, file in enumerate(files):
        alone = content(Score.from_bytes(file).columns, pieces)
        for name, offsets in (("track", columns.track_offsets), ("bar", columns.bar_offsets)):
            assert offsets[index + 1] - offsets[index] == alone[f"{name}_offsets"][-1]
        for name, values in content(columns, pieces).items():
            level = name.split("_", 1)[0]
            if level in {"track", "bar", "cell", "note"} and not name.endswith("offsets"):
                start, end = getattr(columns, f"{level}_offsets")[index : index + 2]
                np.testing.assert_array_equal(values[start:end], alone[name], err_msg=f"{MIDI[index].name} {name}")
    names = [
        bytes(pieces.id_bytes[a:b]).decode() for a, b in zip(pieces.id_offsets, pieces.id_offsets[1:], strict=False)
    ]
    assert names == [path.stem for path in MIDI]
    start, end = pieces.genre_offsets[3:5]
    assert bytes(pieces.genre_bytes[start:end]) == b"style 3"
    assert opened.describe(4) == f"{path}, row 4 ({MIDI[4].stem})"


def test_counts_add_up_and_name_rows(tmp_path: Path, cache: Path) -> None:
    music = [*small_rows(10), None, b"", b"not MIDI", SMALL[0][:40], SMALL[0]]
    path = write_shard(
        tmp_path / "a.parquet", music, total_notes=[0, 0, 0, None, *[5] * 11], md5=list("abcdefghijklmno")
    )
    report = build(GIGAMIDI, [str(path)], cache=cache)
    assert sum(report.counts.values()) == report.rows == len(music)
    assert report.counts["no_notes"] == 3
    assert report.counts["kept"] == 8
    assert report.counts["null_music"] == 1
    assert sum(len(rows) for rows in report.examples.values()) == 4
    assert report.examples["null_music"][0].startswith(f"{path}: row 10 (k)")
    assert not {"kept", "no_notes"} & set(report.examples)
    shard = open_corpus(report.shards).corpus.shards[0]
    assert shard.pieces.row.tolist() == list(range(3, 15))
    assert (shard.pieces.status[7:11] > 0).all()
    assert not shard.pieces.content_hash[7:11].any()


def test_equal_music_has_equal_hashes(tmp_path: Path, cache: Path) -> None:
    # A trailing byte after the last chunk is no music.
    path = write_shard(
        tmp_path / "a.parquet", [SMALL[0], SMALL[1], SMALL[0] + b"\0", SMALL[0]], md5=["a", "b", "c", "d"]
    )
    hashes = open_corpus(build(GIGAMIDI, [str(path)], cache=cache).shards).corpus.shards[0].pieces.content_hash
    np.testing.assert_array_equal(hashes[0], hashes[2])
    np.testing.assert_array_equal(hashes[0], hashes[3])
    assert (hashes[0] != hashes[1]).any()


def test_a_second_build_parses_nothing(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_shards(tmp_path, 2, 50)
    first = build(GIGAMIDI, paths, cache=cache)
    assert first.built == 2
    monkeypatch.setattr("midigpt_core.corpus.build.IsolatedParser", None)
    again = build(GIGAMIDI, paths, cache=cache)
    assert again.built == 0
    assert (again.shards, again.counts) == (first.shards, first.counts)
    assert locate(GIGAMIDI, paths, cache=cache) == first.shards


def test_a_moved_shard_keeps_its_corpus_and_a_changed_one_gets_another(tmp_path: Path, cache: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", small_rows(20))
    first = build(GIGAMIDI, [str(path)], cache=cache)
    moved = path.rename(tmp_path / "b.parquet")
    assert build(GIGAMIDI, [str(moved)], cache=cache).shards == first.shards
    write_shard(moved, small_rows(21))
    changed = build(GIGAMIDI, [str(moved)], cache=cache)
    assert changed.built == 1
    assert changed.rows == 21


def test_verify_hashes_again_what_looks_unchanged(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"music": [SMALL[0], b"\0" * 100_000]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    first = build(GIGAMIDI, [str(path)], cache=cache)
    # One byte far from the footer changes; size and time are put back.
    times, data = path.stat(), bytearray(path.read_bytes())
    data[data.index(SMALL[0]) + 4] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert build(GIGAMIDI, [str(path)], cache=cache).shards == first.shards
    again = build(GIGAMIDI, [str(path)], cache=cache, verify=True)
    assert again.built == 1
    assert again.counts != first.counts


@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_cache_on_a_file_system_without_locks(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    """Two files of equal content have one corpus: threads still take turns."""

    def flock(*_: Any) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", flock)
    paths = [str(write_shard(tmp_path / f"{name}.parquet", small_rows(150))) for name in "abcd"]
    report = build(GIGAMIDI, paths, cache=cache, workers=4)
    assert report.built == 1
    assert len(set(report.shards)) == 1
    assert clean(cache).kept == 1


def _after(monkeypatch: pytest.MonkeyPatch, point: str, change: Callable[[], Any]) -> None:
    """Make ``change`` at some point of a source file's being read."""
    points: dict[str, tuple[Any, str]] = {
        "hashed": (files, "blake3_of"),
        "opened": (pq, "ParquetFile"),
        "read": (gigamidi._Reader, "_to_rows"),
        "parsed": (build_module, "to_pieces"),
    }
    target, name = points[point]
    original = getattr(target, name)

    def meddle(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        change()
        return result

    monkeypatch.setattr(target, name, meddle)


@pytest.mark.parametrize("when", ["hashed", "opened", "read"])
@pytest.mark.parametrize("how", ["replaced", "written over", "a byte, with its time set back", "cut", "removed"])
def test_a_source_that_changes_while_it_is_read_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, when: str, how: str
) -> None:
    path = write_shard(tmp_path / "a.parquet", small_rows(150))
    other = write_shard(tmp_path / "other.parquet", small_rows(140, seed=1))
    whole = path.read_bytes()

    def change() -> None:
        if how == "replaced":
            (tmp_path / "new").write_bytes(other.read_bytes())
            (tmp_path / "new").replace(path)
        elif how == "written over":
            path.write_bytes(other.read_bytes())
        elif how == "cut":
            path.write_bytes(whole[: len(whole) // 2])
        elif how == "removed":
            path.unlink(missing_ok=True)
        else:
            _turn_a_byte(path)

    _after(monkeypatch, when, change)
    with pytest.raises(DataError, match=r"a\.parquet: was (changed or replaced|removed) while it was read"):
        build(GIGAMIDI, [str(path)], cache=cache)
    assert not list(cache.glob(f"corpus/*/{SIDECAR_NAME}"))
    monkeypatch.undo()
    path.write_bytes(whole)
    assert build(GIGAMIDI, [str(path)], cache=cache).counts == {"kept": 150}


def _turn_a_byte(path: Path) -> None:
    """In the first half; size, time of the last write and the last 64 KiB of a larger file stay as they are."""
    times, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 4] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("how", ["replaced", "a byte, with its time set back"])
def test_a_source_that_changes_once_its_rows_are_read_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its corpus would be kept under a fingerprint that is of neither file's rows, or of the later one's."""
    path = write_shard(tmp_path / "a.parquet", small_rows(150))
    other = write_shard(tmp_path / "other.parquet", small_rows(150, seed=1))

    def change() -> None:
        if how != "replaced":
            _turn_a_byte(path)
        elif other.exists():
            other.replace(path)

    _after(monkeypatch, "parsed", change)
    with pytest.raises(DataError, match=r"a\.parquet: was changed while it was read\. Run again"):
        build(GIGAMIDI, [str(path)], cache=cache)
    assert not list(cache.glob(f"corpus/*/{SIDECAR_NAME}"))


def test_a_corpus_is_never_made_under_a_remembered_hash(tmp_path: Path, cache: Path) -> None:
    """A remembered hash finds a corpus. Where one is made, the hash is of the bytes that were read."""
    song, long = small_rows(1)[0], b"\0" * 100_000
    path = tmp_path / "a.parquet"
    table = pa.table({"music": pa.array([song, long], pa.binary())})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    first = build(GIGAMIDI, [str(path)], cache=cache)
    shutil.rmtree(cache / "corpus")
    again = build(GIGAMIDI, [str(path)], cache=cache)
    assert (again.built, again.shards) == (1, first.shards)
    shutil.rmtree(cache / "corpus")
    _turn_a_byte(path)
    with pytest.raises(DataError, match=r"a\.parquet: was changed while it was read\. Run again"):
        build(GIGAMIDI, [str(path)], cache=cache)
    assert not list(cache.glob(f"corpus/*/{SIDECAR_NAME}"))
    later = build(GIGAMIDI, [str(path)], cache=cache)
    assert later.built == 1
    assert later.shards != first.shards


def test_a_source_of_a_plugin_that_changes_while_it_is_read_is_named(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the plugin looks for nothing itself."""
    path = write_shard(tmp_path / "a.parquet", small_rows(50))
    answers = iter(["before", "after"])
    monkeypatch.setattr(gigamidi.GigamidiShard, "fingerprint", lambda _: next(answers))
    with pytest.raises(DataError, match=r"a\.parquet: was changed while it was read\. Run again"):
        build(GIGAMIDI, [str(path)], cache=cache)
    assert not list(cache.glob(f"corpus/*/{SIDECAR_NAME}"))


def test_a_source_whose_name_is_no_utf8(tmp_path: Path, cache: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", [*small_rows(3), b"no music"])
    renamed = path.rename(tmp_path / os.fsdecode(b"caf\xe9.parquet"))
    for paths in ([str(renamed)], [str(tmp_path)], [str(tmp_path / "*.parquet")]):
        report = build(GIGAMIDI, paths, cache=cache)
        assert report.counts == {"kept": 3, "no_header": 1}
        assert report.examples["no_header"][0].startswith(rf"{tmp_path}/caf\xe9.parquet: row 3")


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_bytes_do_not_depend_on_workers(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, workers: int) -> None:
    paths = write_shards(tmp_path, 4, 150)
    reference = build(GIGAMIDI, paths, cache=tmp_path_factory.mktemp("reference"), workers=1)
    report = build(GIGAMIDI, paths, cache=tmp_path_factory.mktemp("cache"), workers=workers)
    assert digests(report) == digests(reference)
    assert open_corpus(report.shards).fingerprint == open_corpus(reference.shards).fingerprint


def test_progress_reaches_all_rows(tmp_path: Path, cache: Path) -> None:
    paths = write_shards(tmp_path, 2, 300)
    build(GIGAMIDI, paths[:1], cache=cache)
    seen: list[BuildProgress] = []
    build(GIGAMIDI, paths, cache=cache, progress=seen.append)
    assert [step.rows for step in seen] == sorted(step.rows for step in seen)
    assert seen[-1].rows == seen[-1].total_rows == 600
    assert seen[-1].shards == seen[-1].total_shards == 2
    assert seen[-1].rows_per_second > 0


def nomml(tmp_path: Path, cache: Path, music: list[bytes], levels: list[list[int] | None]) -> list[list[int]]:
    path = write_shard(tmp_path / "n.parquet", music, NOMML=pa.array(levels, pa.list_(pa.int64())))
    opened = open_corpus(build(GIGAMIDI, [str(path)], cache=cache).shards)
    columns = opened.corpus.shards[0].columns
    return [
        columns.track_nomml[a:b].tolist()
        for a, b in zip(columns.track_offsets, columns.track_offsets[1:], strict=False)
    ]


def smf(*tracks: bytes) -> bytes:
    chunks = b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in tracks)
    return b"MThd" + bytes([0, 0, 0, 6, 0, 1, 0, len(tracks), 1, 0xE0]) + chunks


def note(channel: int) -> bytes:
    return bytes([0, 0x90 | channel, 60, 64, 96, 0x80 | channel, 60, 64, 0, 0xFF, 0x2F, 0])


def test_nomml_by_track_and_over_tracks_without_notes(tmp_path: Path, cache: Path) -> None:
    # A lyric makes a track without notes (docs/encoder-specification.md, A.3).
    lyric = bytes([0, 0xFF, 5, 1, 65]) + note(0)
    plain, with_empty = smf(note(0), note(1), note(2)), smf(lyric, note(1))
    assert nomml(
        tmp_path,
        cache,
        [plain, plain, plain, plain, with_empty, with_empty, plain],
        [[3, 5, 7], [3], None, [1, 2, 3, 4], [4, 6, 8], [4, 6], [-1, 200, 12]],
    ) == [[3, 5, 7], [3, -1, -1], [-1] * 3, [1, 2, 3], [4, 6, 8], [4, -1, 6], [-1, -1, 12]]


class TestIsolation:
    """Rows that take the parser's process down cost themselves and nothing else."""

    MARKS: ClassVar = {20: SEGFAULT, 70: MEMORY, 71: HANG, 199: EXIT, 130: SEGFAULT}

    def music(self) -> list[bytes]:
        rows = small_rows(200)
        for row, mark in self.MARKS.items():
            rows[row] = mark
        return rows

    @pytest.mark.unsanitized
    @pytest.mark.parametrize("workers", [1, 2])
    def test_guilty_rows_are_quarantined_under_their_reason(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, workers: int
    ) -> None:
        path = write_shard(tmp_path / "a.parquet", self.music(), md5=[f"id{n}" for n in range(200)])
        cache = tmp_path_factory.mktemp("cache")
        limits: dict[str, Any] = {"timeout_s": 2.0, "memory_bytes": 512 << 20}
        report = build(GIGAMIDI, [str(path)], cache=cache, workers=workers, parser="support.parsers:faulty", **limits)
        assert report.counts == {"kept": 195, "crashed_sigsegv": 2, "memory": 1, "timeout": 1, "parser_exited": 1}
        assert report.examples["timeout"] == [f"{path}: row 71 (id71)"]
        assert report.examples["memory"] == [f"{path}: row 70 (id70)"]
        innocent = [music if row not in self.MARKS else b"" for row, music in enumerate(self.music())]
        clean = build(GIGAMIDI, [str(write_shard(tmp_path / "b.parquet", innocent))], cache=cache)
        marked, unmarked = (open_corpus(r.shards).corpus.shards[0] for r in (report, clean))
        for name, values in content(marked.columns, marked.pieces).items():
            if name not in {"status", "id_bytes", "id_offsets"}:
                np.testing.assert_array_equal(values, content(unmarked.columns, unmarked.pieces)[name], err_msg=name)

    @pytest.mark.unsanitized
    def test_every_row_guilty(self, tmp_path: Path, cache: Path) -> None:
        path = write_shard(tmp_path / "a.parquet", [SEGFAULT] * 70)
        report = build(GIGAMIDI, [str(path)], cache=cache, parser="support.parsers:faulty")
        assert report.counts == {"crashed_sigsegv": 70}
        assert len(report.examples["crashed_sigsegv"]) == 3

    def test_a_parser_that_raises_is_a_bug_and_ends_the_build(self, tmp_path: Path, cache: Path) -> None:
        path = write_shard(tmp_path / "a.parquet", [*small_rows(5), RAISE])
        with pytest.raises(RuntimeError, match="a bug in the parser"):
            build(GIGAMIDI, [str(path)], cache=cache, parser="support.parsers:faulty")

    def test_a_parser_that_cannot_be_imported(self, tmp_path: Path, cache: Path) -> None:
        path = write_shard(tmp_path / "a.parquet", small_rows(5))
        with pytest.raises(ImportError, match="nowhere"):
            build(GIGAMIDI, [str(path)], cache=cache, parser="nowhere:parse")
        with pytest.raises(RuntimeError, match="parser process ended"):
            build(GIGAMIDI, [str(path)], cache=cache, parser="support.parsers:missing")

    def test_the_real_reader_runs_out_of_memory_by_the_row(self, tmp_path: Path, cache: Path) -> None:
        rows = small_rows(40)
        rows[7] = smf(bytes([0, 0x90, 60, 64, 1, 60, 0]) * 300_000 + bytes([0, 0xFF, 0x2F, 0]))
        path = write_shard(tmp_path / "a.parquet", rows)
        report = build(GIGAMIDI, [str(path)], cache=cache)
        assert report.counts["kept"] >= 39
        assert report.rows == 40


class TestFaultySources:
    def test_damage_in_one_shard_ends_the_build_and_keeps_the_others(self, tmp_path: Path, cache: Path) -> None:
        paths = write_shards(tmp_path, 3, 100)
        whole = Path(paths[1]).read_bytes()
        build(GIGAMIDI, paths[:1], cache=cache)
        Path(paths[1]).write_bytes(whole[:-50])
        with pytest.raises(DataError, match=r"1\.parquet: not a readable parquet file"):
            build(GIGAMIDI, paths, cache=cache, workers=1)
        assert len(list((cache / "corpus").iterdir())) == 1  # a shard that failed leaves no folder
        Path(paths[1]).write_bytes(whole)
        assert build(GIGAMIDI, paths, cache=cache).built == 2

    @pytest.mark.parametrize(
        ("shard", "problem"),
        [("raises", "ZeroDivisionError"), ("miscounts", "announced 5 rows, and gave or dropped 1")],
    )
    def test_a_bug_of_a_source_is_named(self, cache: Path, odd_source: ComponentRef, shard: str, problem: str) -> None:
        with pytest.raises(ComponentError, match=problem) as error:
            build(odd_source, [shard], cache=cache)
        assert f"source 'odd' of odd 1 failed ({shard})" in str(error.value)

    def test_a_source_without_shards(self, cache: Path, odd_source: ComponentRef) -> None:
        with pytest.raises(DataError, match="found no shard"):
            build(odd_source, [], cache=cache)

    @pytest.fixture
    def odd_source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ComponentRef:
        (tmp_path / "odd_source.py").write_text(ODD_SOURCE)
        monkeypatch.syspath_prepend(str(tmp_path))
        return ComponentRef(kind="source", name="odd", target="odd_source:build", distribution="odd", version="1")


ODD_SOURCE = """
import numpy as np, pyarrow as pa
from attrs import frozen
from midigpt_core.contracts import RowBatch

@frozen
class Shard:
    name: str
    def num_rows(self): return 5
    def fingerprint(self): return self.name
    def batches(self):
        if self.name == "raises":
            1 / 0
        yield RowBatch(row=np.arange(1), ids=pa.nulls(1, pa.string()), midi=pa.array([b"x"], pa.binary()))

@frozen
class Source:
    names: tuple
    def shards(self): return [Shard(name) for name in self.names]

def build(options, context): return Source(context.paths)
"""


class TestDisk:
    def test_a_cache_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        path = write_shard(tmp_path / "a.parquet", small_rows(5))
        (tmp_path / "file").write_text("no folder")
        with pytest.raises(WriteError, match=r"cannot be written .* no folder.* MIDIGPT_CACHE names") as error:
            build(GIGAMIDI, [str(path)], cache=tmp_path / "file" / "cache")
        assert str(tmp_path / "file") in str(error.value)

    @pytest.mark.parametrize(
        "call",
        [f"midigpt_core.corpus.writer.{kind}.append" for kind in ("_Spool", "_NumpyFile")]
        + ["midigpt_core.files.StagedFile.bring_to_disk", "os.fsync"],
    )
    def test_a_full_disk_leaves_nothing_half_written(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        monkeypatch.setattr(writer, "SMALL_BYTES", -1)
        paths = write_shards(tmp_path, 2, 20)
        before = build(GIGAMIDI, paths[:1], cache=cache)
        with monkeypatch.context() as patch:
            patch.setattr(call, _disk_is_full)
            with pytest.raises(WriteError, match="the disk is full"):
                build(GIGAMIDI, paths, cache=cache)
        assert len(list(cache.glob(f"corpus/*/{SIDECAR_NAME}"))) == 1
        assert not list(cache.rglob(".midigpt-tmp-*"))
        after = build(GIGAMIDI, paths, cache=cache)
        assert after.built == 1
        assert digests(after)[0] == digests(before)[0]

    @pytest.mark.parametrize("opens", ["tempfile.TemporaryFile", "pathlib.Path.open"])
    def test_a_disk_that_is_still_full_when_files_are_closed(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, opens: str
    ) -> None:
        path = write_shard(tmp_path / "a.parquet", small_rows(5))
        original = Path.open

        def opening(*args: Any, **options: Any) -> Any:
            is_column = opens == "tempfile.TemporaryFile" or args[0].name.endswith(".npy")
            return io.BufferedWriter(_FullDisk()) if is_column else original(*args, **options)

        monkeypatch.setattr(opens, opening)
        with pytest.raises(WriteError, match="the disk is full"):
            build(GIGAMIDI, [str(path)], cache=cache)
        assert not list(cache.rglob(".midigpt-tmp-*"))

    def test_columns_are_brought_to_the_disk_while_they_arrive(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = write_shard(tmp_path / "a.parquet", [MIDI[0].read_bytes()] * 600)
        monkeypatch.setattr(writer, "SMALL_BYTES", -1)
        monkeypatch.setattr(writer, "_FLUSH_BYTES", 1 << 10)
        sizes: dict[str, list[int]] = {}
        original = StagedFile.bring_to_disk

        def counting(file: StagedFile) -> None:
            sizes.setdefault(file.path.name, []).append(os.fstat(file.stream.fileno()).st_size)
            original(file)

        monkeypatch.setattr(StagedFile, "bring_to_disk", counting)
        report = build(GIGAMIDI, [str(path)], cache=cache)
        for name in map(column_file, filed_dtypes()):
            assert sizes[name] == sorted(sizes[name])
            assert sizes[name][-1] == report.shards[0].with_name(name).stat().st_size
        assert sizes["note_onset.npy"][0] < sizes["note_onset.npy"][-1] / 2

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds unnamed files as Linux lists them")
    def test_next_to_nothing_is_written_twice(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that a shard takes little more of the disk while it is written than when it is done."""
        path = write_shard(tmp_path / "a.parquet", [max((file.read_bytes() for file in MIDI), key=len)] * 50)
        unnamed: dict[int, int] = {}  # bytes by inode: a mapped file is open twice

        def measuring(content: memoryview, names: list[str]) -> list[Buffer]:
            for link in Path("/proc/self/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # the one that was listed with
                    target = str(link.readlink())
                    if target.startswith(str(cache)) and target.endswith("(deleted)"):
                        unnamed[link.stat().st_ino] = link.stat().st_size
            return find_buffers(content, names)

        find_buffers = writer._find_buffers
        monkeypatch.setattr(writer, "SMALL_BYTES", -1)
        monkeypatch.setattr(writer, "_find_buffers", measuring)
        report = build(GIGAMIDI, [str(path)], cache=cache)
        assert len(unnamed) == len(arrow_dtypes())
        assert sum(unnamed.values()) < data_bytes(report.shards[0]) / 100


class _FullDisk(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def _disk_is_full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_locate_names_what_is_missing(tmp_path: Path, cache: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", small_rows(5))
    with pytest.raises(CorpusError, match=r"a\.parquet: not preprocessed\. Run `midigpt preprocess`"):
        locate(GIGAMIDI, [str(path)], cache=cache)


def test_no_rows_at_all(tmp_path: Path, cache: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", [])
    report = build(GIGAMIDI, [str(path)], cache=cache)
    assert report.counts == {}
    opened = open_corpus(report.shards)
    assert opened.corpus.num_pieces == 0
    opened.files[0].verify_all()
