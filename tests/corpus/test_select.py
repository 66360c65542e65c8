"""The eligible pieces against its written rule, the golden windows, and its cache."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from midigpt_core.contracts import Encoder
from midigpt_core.corpus import select as select_module
from midigpt_core.corpus.build import build
from midigpt_core.corpus.select import SelectionLimits, Verdict, judge, require_nonempty, select
from midigpt_core.corpus.store import OpenCorpus, open_corpus
from midigpt_core.errors import DataError
from midigpt_core.records import ScoreColumns, Vocabulary
from support.corpus import GIGAMIDI, MIDI, SMALL, small_rows, write_shard

if TYPE_CHECKING:
    from midigpt_core.records import BoolArray, Int32Array

GOLDENS = Path(__file__).parents[1] / "data" / "goldens" / "windows.jsonl.gz"

#: A piece: number of bars, time signature, and for each track the bars that hold notes.
Piece = tuple[int, tuple[int, int], list[list[int]]]


class Picky(Encoder):
    """Takes the given time signatures; writes nothing."""

    def __init__(self, *signatures: tuple[int, int]) -> None:
        self.signatures = signatures

    vocabulary = Vocabulary(size=0, type_names=(), type_of=np.zeros(0, np.uint8), value_of=np.zeros(0, np.int32))
    provides = frozenset()

    def to_config(self) -> dict[str, Any]:
        return {"signatures": [list(signature) for signature in self.signatures]}

    def accepts_signatures(self, numerators: Int32Array, denominators: Int32Array) -> BoolArray | None:
        if not self.signatures:
            return None
        pairs = zip(numerators.tolist(), denominators.tolist(), strict=True)
        return np.array([pair in self.signatures for pair in pairs], np.bool_)

    def encode_batch(self, *_: Any) -> Any:
        raise NotImplementedError

    def decode(self, *_: Any) -> Any:
        raise NotImplementedError


def limits(sizes: tuple[int, ...] = (4,), tracks: int = 1, ratio: float = 0.75, bars: int = 1) -> SelectionLimits:
    return SelectionLimits(min_bars=bars, min_tracks=tracks, window_sizes=sizes, min_fill_ratio=ratio)


def columns_of(pieces: list[Piece]) -> ScoreColumns:
    """One note in every cell."""

    def offsets(counts: list[int]) -> np.ndarray:
        return np.cumsum([0, *counts], dtype=np.int64)

    cells = [[len(bars) for bars in tracks] for _, _, tracks in pieces]
    per_piece = [sum(counts) for counts in cells]
    num_tracks, num_cells = sum(len(counts) for counts in cells), sum(per_piece)
    return ScoreColumns(
        resolution=480,
        tempo=np.full(len(pieces), 500_000, np.int32),
        track_offsets=offsets([len(counts) for counts in cells]),
        bar_offsets=offsets([bars for bars, _, _ in pieces]),
        cell_offsets=offsets(per_piece),
        note_offsets=offsets(per_piece),
        track_program=np.zeros(num_tracks, np.uint8),
        track_drum=np.zeros(num_tracks, np.uint8),
        track_nomml=np.full(num_tracks, -1, np.int8),
        track_cell_end=np.array([end for counts in cells for end in np.cumsum(counts, dtype=int)], np.int32),
        bar_numerator=np.array([signature[0] for bars, signature, _ in pieces for _ in range(bars)], np.int32),
        bar_denominator=np.array([signature[1] for bars, signature, _ in pieces for _ in range(bars)], np.int32),
        bar_length=np.full(sum(bars for bars, _, _ in pieces), 4.0),
        cell_bar=np.array([bar for _, _, tracks in pieces for bars in tracks for bar in bars], np.int32),
        cell_note_end=np.array([n + 1 for count in per_piece for n in range(count)], np.int32),
        note_onset=np.zeros(num_cells, np.int32),
        note_duration=np.ones(num_cells, np.int32),
        note_pitch=np.full(num_cells, 60, np.uint8),
        note_velocity=np.full(num_cells, 64, np.uint8),
        note_microtiming=np.zeros(num_cells, np.int32),
    )


def has_window(piece: Piece, chosen: SelectionLimits) -> bool:
    """The rule of docs/encoder-specification.md, G.2, start by start."""
    num_bars, _, tracks = piece
    for size in chosen.window_sizes:
        need = max(1, math.ceil(chosen.min_fill_ratio * size))
        for start in range(num_bars - size + 1):
            good = [track for track in tracks if sum(start <= bar < start + size for bar in track) >= need]
            if len(good) >= chosen.min_tracks:
                return True
    return False


def verdicts(pieces: list[Piece], chosen: SelectionLimits, encoder: Encoder | None = None) -> list[Verdict]:
    found = judge(columns_of(pieces), np.zeros(len(pieces), np.uint8), encoder or Picky(), chosen)
    return [Verdict(value) for value in found]


@st.composite
def a_piece(draw: st.DrawFn) -> Piece:
    bars = draw(st.integers(0, 14))
    filled = st.sets(st.integers(0, bars - 1)).map(sorted) if bars else st.just([])
    return bars, (4, 4), draw(st.lists(filled, max_size=5))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(a_piece(), max_size=6),
    st.sets(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.3, 0.5, 0.75, 1.0]),
)
def test_windows_are_those_of_the_rule(pieces: list[Piece], sizes: set[int], tracks: int, ratio: float) -> None:
    chosen = limits(tuple(sizes), tracks, ratio, bars=0)
    for piece, verdict in zip(pieces, verdicts(pieces, chosen), strict=True):
        if verdict is not Verdict.TOO_FEW_TRACKS:
            assert verdict is (Verdict.VALID if has_window(piece, chosen) else Verdict.NO_WINDOW)


def test_columns_that_contradict_one_another_are_an_error_not_a_verdict() -> None:
    columns = columns_of([(4, (4, 4), [[0, 1, 2]]), (4, (4, 4), [[0, 1, 2]])])
    beyond = attrs.evolve(columns, track_cell_end=np.array([3, 4], np.int32))
    with pytest.raises(ValueError, match="the columns of piece 1 are damaged"):
        judge(beyond, np.zeros(2, np.uint8), Picky(), limits())


def test_golden_windows(tmp_path: Path, cache: Path) -> None:
    path = write_shard(tmp_path / "a.parquet", [file.read_bytes() for file in MIDI])
    opened = open_corpus(build(GIGAMIDI, [str(path)], cache=cache).shards)
    names = [file.name for file in MIDI]
    with gzip.open(GOLDENS, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    for bars, tracks, fill in {(row["bars"], row["tracks"], row["min_fill"]) for row in rows}:
        valid = set(select(opened, Picky(), limits((bars,), tracks, fill)).pieces.tolist())
        for row in rows:
            if (row["bars"], row["tracks"], row["min_fill"]) == (bars, tracks, fill):
                assert (names.index(row["file"]) in valid) == bool(row["valid"]), row["file"]


def test_reasons_are_looked_for_in_order() -> None:
    full = list(range(8))
    pieces: list[Piece] = [
        (8, (4, 4), [full, full]),
        (8, (4, 4), [full]),
        (3, (7, 8), [[0, 1, 2], [0]]),
        (8, (7, 8), [full, full]),
        (8, (4, 4), [full, [0, 1]]),
        (8, (7, 8), []),
    ]
    status = np.zeros(len(pieces), np.uint8)
    status[-1] = 5
    found = judge(columns_of(pieces), status, Picky((4, 4)), limits((4,), 2, bars=4))
    assert [Verdict(value) for value in found] == [
        Verdict.VALID,
        Verdict.TOO_FEW_TRACKS,
        Verdict.TOO_FEW_BARS,
        Verdict.UNSUPPORTED_SIGNATURE,
        Verdict.NO_WINDOW,
        Verdict.NOT_PARSED,
    ]


@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([(4, 4), (3, 4), (7, 8)])), max_size=8))
@settings(deadline=None)
def test_one_bar_in_a_foreign_signature_is_enough(shapes: list[tuple[int, tuple[int, int]]]) -> None:
    pieces: list[Piece] = [(bars, signature, [[]]) for bars, signature in shapes]
    found = verdicts(pieces, limits(bars=0), Picky((4, 4), (3, 4)))
    for (bars, signature), verdict in zip(shapes, found, strict=True):
        assert (verdict is Verdict.UNSUPPORTED_SIGNATURE) == (bars > 0 and signature == (7, 8))


@pytest.fixture
def opened(tmp_path: Path, cache: Path) -> OpenCorpus:
    music = [*small_rows(30), b"not MIDI"]
    paths = [str(write_shard(tmp_path / f"{n}.parquet", [*music, SMALL[n]])) for n in range(2)]
    return open_corpus(build(GIGAMIDI, paths, cache=cache).shards)


def test_counts_add_up_over_shards(opened: OpenCorpus) -> None:
    valid = select(opened, Picky(), limits())
    assert sum(valid.counts.values()) == opened.corpus.num_pieces
    assert valid.counts["not_parsed"] == 2
    assert valid.counts["valid"] == len(valid.pieces) > 0
    assert (np.diff(valid.pieces) > 0).all()
    by_shard = [open_corpus([path]) for path in opened.shard_paths]
    parts = [select(one, Picky(), limits()).pieces for one in by_shard]
    np.testing.assert_array_equal(valid.pieces, np.concatenate([parts[0], parts[1] + opened.corpus.piece_offsets[1]]))


def test_a_second_selection_judges_nothing(opened: OpenCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    first = select(opened, Picky(), limits())
    calls: list[int] = []

    def counted(columns: ScoreColumns, *rest: Any) -> Any:
        calls.append(columns.num_pieces)
        return judge(columns, *rest)

    monkeypatch.setattr(select_module, "judge", counted)
    again = select(opened, Picky(), limits())
    np.testing.assert_array_equal(again.pieces, first.pieces)
    assert again.counts == first.counts
    assert not calls
    for other in (Picky((4, 4)), Picky((3, 4))):
        select(opened, other, limits())
    select(opened, Picky(), limits(ratio=0.5))
    assert len(calls) == 6


def test_verdicts_under_the_earlier_checksum_are_made_again_and_are_the_same(opened: OpenCorpus) -> None:
    first = select(opened, Picky(), limits())
    memories = [memory for path in opened.shard_paths for memory in path.parent.glob("valid-*")]
    new = [memory.read_bytes() for memory in memories]
    assert all(content[:8] == xxhash.xxh3_64_digest(content[8:]) for content in new)
    for memory, content in zip(memories, new, strict=True):
        memory.write_bytes(zlib.crc32(content[8:]).to_bytes(4, "little") + content[8:])
    np.testing.assert_array_equal(select(opened, Picky(), limits()).pieces, first.pieces)
    assert [memory.read_bytes() for memory in memories] == new


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_memory_is_made_again(opened: OpenCorpus, damage: str) -> None:
    first = select(opened, Picky(), limits())
    for memory in opened.shard_paths[0].parent.glob("valid-*"):
        content = bytearray(memory.read_bytes())
        if damage == "flip":
            content[9] ^= 1
        memory.write_bytes({"flip": bytes(content), "cut": bytes(content[:-1]), "empty": b""}[damage])
    again = select(opened, Picky(), limits())
    np.testing.assert_array_equal(again.pieces, first.pieces)
    assert again.counts == first.counts


def test_nothing_valid_is_an_error_with_the_counts(opened: OpenCorpus) -> None:
    chosen = limits(bars=10_000)
    valid = select(opened, Picky(), chosen)
    with pytest.raises(DataError, match=r"min_bars 10000.*too_few_bars \d+.*Lower these limits") as error:
        require_nonempty(valid, opened, chosen)
    assert "0.parquet" in str(error.value)
    require_nonempty(select(opened, Picky(), limits()), opened, limits())
