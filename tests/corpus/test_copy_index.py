"""The copy index finds every bar of its corpus, takes no more memory than it may, and is refused for another one."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xxhash

from midigpt_core.corpus import copy_index
from midigpt_core.corpus.build import build
from midigpt_core.corpus.copy_index import build_copy_index, pieces_digest, read_copy_index, require_same_corpus
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import DataError
from midigpt_core.score.bar_fingerprints import LEAST_NOTES, bar_fingerprints
from support.corpus import GIGAMIDI, write_shard

if TYPE_CHECKING:
    from midigpt_core.corpus.store import OpenCorpus
    from midigpt_core.records import UInt64Array

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
PARTS = {"a": slice(0, None, 2), "b": slice(1, None, 2)}
ROOM = 1 << 30


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenCorpus:
    """Two shards."""
    folder = tmp_path_factory.mktemp("copies")
    files = [file.read_bytes() for file in sorted(MIDI.glob("*.mid"))]
    paths = [str(write_shard(folder / f"{name}.parquet", files[part])) for name, part in PARTS.items()]
    return open_corpus(build(GIGAMIDI, paths, cache=folder / "cache").shards)


def bars_of(opened: OpenCorpus) -> UInt64Array:
    """The fingerprints of all bars that count, shard by shard."""
    found = []
    for file in opened.files:
        cells, fingerprints = bar_fingerprints(file.shard.columns)
        found.append(fingerprints[cells.notes >= LEAST_NOTES])
    return np.concatenate(found)


def test_it_contains_every_bar_however_it_is_merged(opened: OpenCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = build_copy_index(opened, np.arange(opened.corpus.num_pieces), most_bytes=ROOM)
    assert whole is not None
    bars = bars_of(opened)
    assert len(bars) > 50
    assert whole.contains(bars).all()
    assert whole.looked_up(bars).all()
    assert np.array_equal(whole.fingerprints, np.unique(bars))
    others = np.arange(1000, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert not whole.contains(others).any()
    # Pieces one by one, merged again and again.
    monkeypatch.setattr(copy_index, "_NOTES_AT_ONCE", 1)
    monkeypatch.setattr(copy_index, "_LEAST_MERGED", 8)
    told: list[tuple[int, int]] = []
    again = build_copy_index(
        opened,
        np.arange(opened.corpus.num_pieces),
        most_bytes=ROOM,
        progress=lambda done, total: told.append((done, total)),
    )
    assert again is not None
    assert np.array_equal(again.fingerprints, whole.fingerprints)
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] > 0


def test_only_the_pieces_asked_for_are_in_it(opened: OpenCorpus) -> None:
    chosen = np.arange(1, opened.corpus.num_pieces, 3)
    part = build_copy_index(opened, chosen, most_bytes=ROOM)
    assert part is not None
    expected = []
    for file, first in zip(opened.files, opened.corpus.piece_offsets.tolist(), strict=False):
        cells, fingerprints = bar_fingerprints(file.shard.columns)
        expected.append(fingerprints[(cells.notes >= LEAST_NOTES) & np.isin(cells.piece + first, chosen)])
    assert np.array_equal(part.fingerprints, np.unique(np.concatenate(expected)))


def test_a_sample_is_a_part_of_the_bars_on_both_sides(opened: OpenCorpus) -> None:
    bars = np.unique(bars_of(opened))
    part = build_copy_index(opened, np.arange(opened.corpus.num_pieces), most_bytes=ROOM, sample=0.25)
    assert part is not None
    inside = part.looked_up(bars)
    assert np.array_equal(part.fingerprints, bars[inside])
    assert 0.1 < inside.mean() < 0.4
    many = np.random.default_rng(1).integers(0, 2**64, 100_000, dtype=np.uint64)
    assert part.looked_up(many).mean() == pytest.approx(0.25, abs=0.01)


def test_too_little_memory_says_what_to_lower(opened: OpenCorpus) -> None:
    with pytest.raises(DataError, match=r"does not fit in 0 MiB .* bars after 100% .*--copy-sample.*now 1\."):
        build_copy_index(opened, np.arange(opened.corpus.num_pieces), most_bytes=500)
    bars = len(np.unique(bars_of(opened)))
    assert build_copy_index(opened, np.arange(opened.corpus.num_pieces), most_bytes=24 * (bars + 100)) is not None


def test_a_stop_ends_it(opened: OpenCorpus) -> None:
    assert build_copy_index(opened, np.arange(opened.corpus.num_pieces), most_bytes=ROOM, go_on=lambda: False) is None


def test_it_comes_back_from_its_file(opened: OpenCorpus, tmp_path: Path) -> None:
    built = build_copy_index(opened, np.arange(opened.corpus.num_pieces), most_bytes=ROOM, sample=0.5)
    assert built is not None
    built.save(tmp_path / "copies.npy")
    back = read_copy_index(tmp_path / "copies.npy")
    assert (back.corpus, back.pieces, back.sample) == (opened.fingerprint, built.pieces, 0.5)
    assert isinstance(back.fingerprints, np.memmap)
    assert np.array_equal(back.fingerprints, built.fingerprints)
    require_same_corpus(back.corpus, opened.fingerprint, "copies.npy")
    with pytest.raises(DataError, match=r"^copies\.npy: another corpus \(fingerprint .{12}\) than .* \(0{12}\)\. Give"):
        require_same_corpus(back.corpus, "0" * 64, "copies.npy")


def test_it_says_which_pieces_it_is_of(opened: OpenCorpus) -> None:
    chosen = [np.arange(opened.corpus.num_pieces)[part] for part in (slice(None), slice(1, None), slice(None, -1))]
    found = [build_copy_index(opened, pieces, most_bytes=ROOM) for pieces in chosen]
    assert [index.pieces for index in found if index] == [pieces_digest(pieces) for pieces in chosen]
    assert len({pieces_digest(pieces) for pieces in chosen}) == 3


def test_files_of_the_first_version_are_read(opened: OpenCorpus, tmp_path: Path) -> None:
    """They do not say which pieces they are of."""
    built = build_copy_index(opened, np.arange(opened.corpus.num_pieces), most_bytes=ROOM)
    assert built is not None
    built.save(tmp_path / "second.npy")
    words = np.load(tmp_path / "second.npy")
    head = words[:9].copy()
    head[1] = 1 | int(head[1]) >> 32 << 32
    checksum = np.array([xxhash.xxh3_64_intdigest(head.data)], np.uint64)
    with (tmp_path / "first.npy").open("wb") as stream:
        np.lib.format.write_array(stream, np.concatenate([head, checksum, words[12:]]), (2, 0))
    back = read_copy_index(tmp_path / "first.npy")
    assert (back.corpus, back.pieces, back.sample) == (opened.fingerprint, "", 1.0)
    assert np.array_equal(back.fingerprints, built.fingerprints)


def numpy_file(header: str) -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text)) + text + bytes(8 * 100)


def test_files_that_are_none_are_refused(opened: OpenCorpus, tmp_path: Path) -> None:
    built = build_copy_index(opened, np.arange(opened.corpus.num_pieces), most_bytes=ROOM)
    assert built is not None
    built.save(tmp_path / "good.npy")
    good = (tmp_path / "good.npy").read_bytes()
    broken = bytearray(good)
    broken[-3] ^= 1
    np.save(tmp_path / "other.npy", np.arange(20, dtype=np.uint64))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    nothing = [
        b"not an array", b"", good[:200], b"PK\x03\x04" + bytes(200),
        (tmp_path / "other.npy").read_bytes(), (tmp_path / "objects.npy").read_bytes(),
        # NumPy's own reader evaluates these headers, and fails in as many ways.
        *(numpy_file(header) for header in (
            "{'descr': '<u8', 'fortran_order': False, 'shape': (", "-" * 9000 + "1", "{[]: 1}",
            "{'descr': '<u8', 'fortran_order': False, 'shape': (2**70,), }",
            "{'descr': ',', 'fortran_order': False, 'shape': (80,), }",
            "{'descr': '<u8', 'fortran_order': False, 'shape': (True,), }",
        )),
    ]  # fmt: skip
    contents = [("is damaged", bytes(broken)), *(("is no copy index", content) for content in nothing)]
    for number, (reason, content) in enumerate(contents):
        path = tmp_path / f"{number}.npy"
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"{number}\.npy: .*{reason}"):
            read_copy_index(path)
    with pytest.raises(DataError, match="No such file"):
        read_copy_index(tmp_path / "absent.npy")
    with pytest.raises(DataError, match="directory"):
        read_copy_index(tmp_path)
