"""The file of a shard: Arrow reads it, and no damage is ever taken for data."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from midigpt_core.corpus import format as corpus_format
from midigpt_core.corpus import store, writer
from midigpt_core.corpus.build import build
from midigpt_core.corpus.format import (
    DATA_NAME,
    FILED,
    LISTS,
    SIDECAR_NAME,
    arrow_dtypes,
    column_file,
    data_files,
    filed_dtypes,
    read_sidecar,
)
from midigpt_core.corpus.similar import KEYS_NAME
from midigpt_core.corpus.store import ShardFile, open_corpus
from midigpt_core.corpus.writer import ShardWriter
from midigpt_core.errors import CorpusError
from support.corpus import GIGAMIDI, SMALL, content, small_rows, write_shard


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    styles = [f"style {n % 3}" for n in range(60)]
    music = [*small_rows(58), b"not MIDI", SMALL[0]]
    path = write_shard(folder / "a.parquet", music, md5=[f"id{n}" for n in range(60)], music_style_scraped=styles)
    # The layout of large shards, which are only larger.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SMALL_BYTES", -1)
        return build(GIGAMIDI, [str(path)], cache=folder / "cache").shards[0]


@pytest.fixture(scope="module")
def small_shard(shard: Path) -> Path:
    return build(GIGAMIDI, [str(shard.parents[3] / "a.parquet")], cache=shard.parents[3] / "small").shards[0]


def read_all(path: Path) -> dict[str, np.ndarray]:
    opened = open_corpus([path])
    opened.verify(np.arange(opened.corpus.num_pieces))
    (found,) = opened.corpus.shards
    return {name: values.copy() for name, values in content(found.columns, found.pieces).items()}


def test_arrow_and_numpy_read_the_same(shard: Path) -> None:
    batch = pa.ipc.open_file(str(shard)).read_all().combine_chunks()
    batch.validate(full=True)
    found = open_corpus([shard]).corpus.shards[0]
    for name in ("row", "status"):
        np.testing.assert_array_equal(batch[name].to_numpy(), getattr(found.pieces, name))
    assert b"".join(batch["content_hash"].to_pylist()) == found.pieces.content_hash.tobytes()
    assert batch["id"].to_pylist() == [f"id{n}" for n in range(60)]
    assert batch["genre"].to_pylist() == [f"style {n % 3}" for n in range(60)]
    for level, plural in LISTS.items():
        lists = batch[plural].chunk(0)
        np.testing.assert_array_equal(lists.offsets.to_numpy(), getattr(found.columns, f"{level}_offsets"))
        for column in lists.values.type:
            values = lists.values.field(column.name).to_numpy()
            np.testing.assert_array_equal(values, getattr(found.columns, f"{level}_{column.name}"))
    for name, dtype in filed_dtypes().items():
        values = np.load(shard.with_name(column_file(name)), allow_pickle=False)
        assert values.dtype == dtype
        np.testing.assert_array_equal(values, getattr(found.columns, name))


def test_a_small_shard_is_one_file_and_holds_the_same(shard: Path, small_shard: Path) -> None:
    """One map a shard: a process may have some 65,000."""
    assert {path.name for path in small_shard.parent.iterdir()} == {DATA_NAME, SIDECAR_NAME, KEYS_NAME}
    large, small = read_all(shard), read_all(small_shard)
    assert large.keys() == small.keys()
    for name, values in large.items():
        np.testing.assert_array_equal(values, small[name])
    batch = pa.ipc.open_file(str(small_shard)).read_all().combine_chunks()
    batch.validate(full=True)
    found = open_corpus([small_shard]).corpus.shards[0]
    for level, plural in {**LISTS, **FILED}.items():
        lists = batch[plural].chunk(0)
        np.testing.assert_array_equal(lists.offsets.to_numpy(), getattr(found.columns, f"{level}_offsets"))
        for column in lists.values.type:
            values = lists.values.field(column.name).to_numpy()
            np.testing.assert_array_equal(values, getattr(found.columns, f"{level}_{column.name}"))
    sidecar = read_sidecar(small_shard.with_name(SIDECAR_NAME))
    assert sidecar.sizes() == {DATA_NAME: small_shard.stat().st_size}
    ShardFile(small_shard).verify_all()


def test_the_same_music_has_one_name_in_either_layout(shard: Path, small_shard: Path, tmp_path: Path) -> None:
    """So a run can resume after a version with another layout has rebuilt the shards of its corpus."""
    assert open_corpus([shard]).fingerprint == open_corpus([small_shard]).fingerprint
    other = write_shard(tmp_path / "a.parquet", [*small_rows(58), b"not MIDI", SMALL[1]])
    assert open_corpus(build(GIGAMIDI, [str(other)], cache=tmp_path / "cache").shards).fingerprint != (
        open_corpus([small_shard]).fingerprint
    )


def test_no_damage_of_a_small_shard_is_taken_for_data(small_shard: Path, tmp_path: Path) -> None:
    whole = small_shard.read_bytes()
    generator = np.random.Generator(np.random.Philox(9))
    for at in generator.integers(0, len(whole), 50).tolist():
        content = bytearray(whole)
        content[at] ^= 0x10
        copy = tmp_path / str(at) / DATA_NAME
        copy.parent.mkdir()
        copy.write_bytes(content)
        shutil.copyfile(small_shard.with_name(SIDECAR_NAME), copy.with_name(SIDECAR_NAME))
        with pytest.raises(CorpusError, match="damaged between bytes"):
            ShardFile(copy).verify_all()


def test_a_limit_on_maps_is_named(small_shard: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(store, "MappedFile", refuse)
    with pytest.raises(CorpusError, match=r"pieces\.arrow: cannot be mapped .*join the source's files into fewer"):
        open_corpus([small_shard])


def test_nothing_is_copied(shard: Path) -> None:
    found = open_corpus([shard]).corpus.shards[0]
    for values in content(found.columns, found.pieces).values():
        assert not values.flags.owndata
        assert not values.flags.writeable
        assert values.ctypes.data % values.dtype.itemsize == 0


def test_the_sidecar_covers_every_byte(shard: Path) -> None:
    sidecar = read_sidecar(shard.with_name(SIDECAR_NAME))
    covered = dict.fromkeys(data_files(), 0)
    for buffer in sidecar.buffers:
        assert buffer.offset == covered[buffer.file]
        covered[buffer.file] += buffer.span
    assert covered == sidecar.sizes() == {name: shard.with_name(name).stat().st_size for name in data_files()}
    assert sum(covered.values()) == sidecar.size
    filed = [each for name in filed_dtypes() for each in (column_file(name), name)]
    assert [buffer.name for buffer in sidecar.buffers] == [DATA_NAME, *arrow_dtypes(), *filed]


def test_totals(shard: Path) -> None:
    totals = read_sidecar(shard.with_name(SIDECAR_NAME)).totals
    columns = open_corpus([shard]).corpus.shards[0].columns
    assert (totals.pieces, totals.tracks) == (60, len(columns.track_program))
    assert (totals.bars, totals.notes) == (len(columns.bar_length), len(columns.note_onset))
    assert sum(totals.programs.values()) == totals.tracks
    assert sum(totals.signatures.values()) == totals.bars
    assert totals.programs.get("drums", 0) == int(columns.track_drum.sum())
    four_four = (columns.bar_numerator == 4) & (columns.bar_denominator == 4)
    assert totals.signatures["4/4"] == int(four_four.sum())


def damages() -> list[tuple[str, int, str]]:
    """1,700 of them: (file, place as a share of its size in 2**32nds, kind)."""
    draws = np.random.Generator(np.random.Philox(2)).integers(0, 1 << 32, 1700).tolist()
    files = [DATA_NAME] * 350 + [SIDECAR_NAME] * 50 + [column_file(name) for name in filed_dtypes() for _ in range(100)]
    kinds = ["flip"] * 6 + ["cut"]
    return [(name, draw, kinds[n % len(kinds)]) for n, (name, draw) in enumerate(zip(files, draws, strict=True))]


def test_no_damage_is_taken_for_data(shard: Path, tmp_path: Path) -> None:
    """Flipped bits and truncations anywhere in any file: an error of ours, or the very same data."""
    expected = read_all(shard)
    whole = {name: shard.with_name(name).read_bytes() for name in (*data_files(), SIDECAR_NAME)}
    for name, undamaged in whole.items():
        (tmp_path / name).write_bytes(undamaged)
    refused = 0
    for name, draw, kind in damages():
        damaged = bytearray(whole[name])
        place = draw * len(damaged) >> 32
        if kind == "cut":
            del damaged[place:]
        else:
            damaged[place] ^= 1 << draw % 8
        (tmp_path / name).write_bytes(damaged)
        try:
            found = read_all(tmp_path / DATA_NAME)
        except CorpusError as error:
            refused += 1
            assert str(tmp_path) in str(error)
            assert "midigpt corpus clean" in str(error)
        else:
            assert found.keys() == expected.keys()
            for column, values in found.items():
                np.testing.assert_array_equal(values, expected[column], err_msg=f"{name} {place} {kind}")
            # Bytes that are not data (metadata of Arrow and NumPy, padding): the full check sees them.
            with pytest.raises(CorpusError):
                ShardFile(tmp_path / DATA_NAME).verify_all()
        (tmp_path / name).write_bytes(whole[name])

    assert refused > 1700 * 350 // 400


@pytest.mark.parametrize("name", data_files())
def test_a_file_that_is_gone_is_named(shard: Path, tmp_path: Path, name: str) -> None:
    copy = Path(shutil.copytree(shard.parent, tmp_path / "copy"))
    (copy / name).unlink()
    with pytest.raises(CorpusError, match=f"copy/{name}: .*midigpt corpus clean"):
        open_corpus([copy / DATA_NAME])


def test_an_open_corpus_holds_no_descriptors(shard: Path) -> None:
    def held() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = held()
    opened = [open_corpus([shard]) for _ in range(20)]
    opened[-1].verify(np.arange(opened[-1].corpus.num_pieces))
    assert held() == before


def test_pieces_are_checked_when_first_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("store", "writer"):
        monkeypatch.setattr(f"midigpt_core.corpus.{module}.SEGMENT_BYTES", 64)
    path = write_shard(tmp_path / "a.parquet", [SMALL[-1]] * 20)
    whole = build(GIGAMIDI, [str(path)], cache=tmp_path / "cache").shards[0]
    damaged = Path(shutil.copytree(whole.parent, tmp_path / "copy")) / DATA_NAME
    pitches = next(b for b in read_sidecar(damaged.with_name(SIDECAR_NAME)).buffers if b.name == "note_pitch")
    content = bytearray(damaged.with_name(pitches.file).read_bytes())
    content[pitches.offset + pitches.count - 1] ^= 1
    damaged.with_name(pitches.file).write_bytes(content)
    opened = open_corpus([whole, damaged])
    opened.verify(np.array([0, 19, 20, 21, 0]))
    opened.verify(np.array([], np.int64))
    where = r"copy/pieces\.arrow: damaged between bytes \d+ and \d+ \(note_pitch\)"
    for _ in range(2):
        with pytest.raises(CorpusError, match=where):
            opened.verify(np.array([5, 39]))
    opened.verify(np.array([20]))


def test_verify_from_many_threads(shard: Path) -> None:
    opened = open_corpus([shard])
    failures: list[BaseException] = []

    def touch(seed: int) -> None:
        order = np.random.Generator(np.random.Philox(seed)).permutation(opened.corpus.num_pieces)
        try:
            for piece in order:
                opened.verify(np.array([piece]))
        except CorpusError as error:
            failures.append(error)

    threads = [threading.Thread(target=touch, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_offsets_that_leave_their_column_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even under valid checksums: native code follows offsets without looking."""
    path = write_shard(tmp_path / "a.parquet", small_rows(4))
    original = ShardWriter._append_run

    def shifted(self: ShardWriter, name: str, offsets: np.ndarray) -> None:
        # Still within the column's length for Arrow, but descending.
        original(self, name, offsets if name != "note_offsets" else np.array([0, 9, 3, *offsets[3:]]))

    monkeypatch.setattr(ShardWriter, "_append_run", shifted)
    shards = build(GIGAMIDI, [str(path)], cache=tmp_path / "cache").shards
    opened = open_corpus(shards)
    opened.verify(np.array([0]))
    with pytest.raises(CorpusError, match="note_offsets do not fit"):
        opened.verify(np.array([1]))
    with pytest.raises(CorpusError, match="note_offsets do not fit"):
        opened.files[0].verify_index()


def test_what_is_no_corpus_is_named(tmp_path: Path, shard: Path) -> None:
    with pytest.raises(CorpusError, match="no corpus here"):
        open_corpus([tmp_path / DATA_NAME])
    with pytest.raises(CorpusError, match="no corpus to open"):
        open_corpus([])
    (tmp_path / DATA_NAME).write_bytes(shard.read_bytes())
    body, _, _ = shard.with_name(SIDECAR_NAME).read_bytes().partition(b"\n")
    body = body.replace(b'"version":3', b'"version":0')
    (tmp_path / SIDECAR_NAME).write_bytes(body + b"\n" + corpus_format._checksum_line(body))
    with pytest.raises(CorpusError, match="another version"):
        open_corpus([tmp_path / DATA_NAME])


@pytest.mark.parametrize("cut", ["to nothing", "in the middle"])
def test_a_file_that_is_cut_off_under_its_reader_is_named(shard: Path, tmp_path: Path, cut: str) -> None:
    """The system ends a process that reads there, by SIGBUS; a process of its own shows that this one would go on."""
    copy = Path(shutil.copytree(shard.parent, tmp_path / "copy")) / DATA_NAME
    pitches = copy.with_name(column_file("note_pitch"))
    size = 0 if cut == "to nothing" else pitches.stat().st_size // 2
    code = f"""
import os, sys
import numpy as np
from pathlib import Path
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import CorpusError
opened = open_corpus([Path({str(copy)!r})])
opened.verify(np.arange(opened.corpus.num_pieces))
opened.check_unlost()
os.truncate({str(pitches)!r}, {size})
assert int(opened.corpus.shards[0].columns.note_pitch[-1]) == 0
try:
    opened.files[0].check_unlost()
except CorpusError as error:
    sys.exit(str(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "note_pitch.npy: was cut off while it was in use, or cannot be read any more, corpus of " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bus_error_elsewhere_still_ends_the_process(shard: Path, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(bytes(100_000))
    code = f"""
import mmap, os
from pathlib import Path
from midigpt_core.corpus.store import open_corpus
opened = open_corpus([Path({str(shard)!r})])
stream = open({str(tmp_path / "other")!r}, "r+b")
mapped = mmap.mmap(stream.fileno(), 0)
os.truncate(stream.fileno(), 0)
mapped[50_000]
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGBUS
