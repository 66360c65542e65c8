"""Copies of pieces: found whatever their key, tempo, instruments and order of tracks, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from midigpt_core.corpus import duplicates
from midigpt_core.corpus.build import build
from midigpt_core.corpus.duplicates import CopyKind, copies_among, find_copies, shared_music
from midigpt_core.corpus.report import count_copies, leakage
from midigpt_core.corpus.similar import KEYS_NAME, corpus_keys
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import CorpusError
from midigpt_core.score import Score
from midigpt_core.score.columns import concatenate
from midigpt_core.score.content_hash import content_hashes
from midigpt_core.score.similarity import music_keys
from support.corpus import GIGAMIDI, write_shard
from support.generated_music import score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midigpt_core.corpus.store import OpenCorpus
    from midigpt_core.records import Int64Array, UInt64Array
    from support.generated_music import Note

    Track = tuple[bool, list[Note]]

_BARS = 24
_ALL = ("same", "up", "down", "faster", "octaves", "instruments", "reversed", "louder", "one bar cut", "a bar changed")


def tracks(seed: int, *, number: int = 3, bars: int = _BARS, drums: bool = True) -> list[Track]:
    """Random music: in each bar of each track two to six notes; the last track is a drum track if ``drums``."""
    draw = np.random.default_rng(seed)
    made: list[Track] = []
    for track in range(number):
        notes = [
            (bar, float(draw.integers(16)) / 4, float(draw.integers(1, 9)) / 4, int(draw.integers(40, 80)))
            for bar in range(bars)
            for _ in range(draw.integers(2, 7))
        ]
        made.append((drums and track == number - 1, sorted(set(notes))))
    return made


def moved(made: Sequence[Track], semitones: Sequence[int]) -> list[Track]:
    """Each melodic track transposed."""
    return [
        (drum, [(bar, onset, length, pitch + (0 if drum else by)) for bar, onset, length, pitch in notes])
        for (drum, notes), by in zip(made, semitones, strict=True)
    ]


def copy(made: list[Track], how: str) -> Score:
    match how:
        case "up":
            return score(moved(made, [5] * len(made)), _BARS)
        case "down":
            return score(moved(made, [-7] * len(made)), _BARS)
        case "octaves":
            return score(moved(made, [12, -12, *[0] * (len(made) - 2)]), _BARS)
        case "reversed":
            return score(made[::-1], _BARS)
        case "one bar cut":
            return score([(drum, [note for note in notes if note[0] != 3]) for drum, notes in made], _BARS)
        case "a bar changed":
            changed = [(bar, onset, length, pitch + (bar == 7)) for bar, onset, length, pitch in made[0][1]]
            changed[0] = (0, *changed[0][1:3], 90)
            return score([(made[0][0], changed), *made[1:]], _BARS)
    columns = score(made, _BARS).columns
    changes: dict[str, Any] = {
        "same": {},
        "faster": {"tempo": columns.tempo // 2},
        "instruments": {"track_program": np.full_like(columns.track_program, 40)},
        "louder": {"note_velocity": np.full_like(columns.note_velocity, 120)},
    }[how]
    return Score(attrs.evolve(columns, **changes))


def found_in(scores: Sequence[Score]) -> list[int]:
    """The :class:`CopyKind` of each score."""
    columns = concatenate([one.columns for one in scores])
    hashes = content_hashes(columns).view(np.uint64).reshape(-1, 2)
    notes = np.diff(columns.note_offsets)
    return find_copies(music_keys(columns), hashes, notes, np.arange(len(notes))).tolist()


@pytest.mark.parametrize("how", _ALL)
def test_a_copy_of_each_of_many_pieces_is_found_and_no_other_piece(how: str) -> None:
    made = [tracks(seed) for seed in range(40)]
    originals = [score(one, _BARS) for one in made]
    kinds = found_in([*originals, *(copy(one, how) for one in made)])
    # Which of the two stays is by their content: each pair keeps one.
    pairs = [sorted(pair) for pair in zip(kinds[:40], kinds[40:], strict=True)]
    # The content hash covers neither tempo nor the name of a file.
    kind = CopyKind.EXACT if how in ("same", "faster") else CopyKind.NEAR
    assert pairs == [[CopyKind.NONE, kind]] * 40


def test_different_pieces_are_no_copies(midi_folder: Path) -> None:
    made = [score(tracks(seed), _BARS) for seed in range(200)]
    real = [Score.from_midi(file) for file in sorted(midi_folder.glob("*.mid"))]
    assert set(found_in([*made, *(one for one in real if len(one.columns.note_pitch))])) == {CopyKind.NONE}
    # Of the same bars, half are others.
    halves = [
        score(
            [(drum, [*a[: len(a) // 2], *b[len(b) // 2 :]]) for (drum, a), (_, b) in zip(one, two, strict=True)], _BARS
        )
        for one, two in ((tracks(seed), tracks(seed + 1000)) for seed in range(40))
    ]
    assert set(found_in([*made[:40], *halves])) == {CopyKind.NONE}


def test_short_pieces_and_drum_patterns_are_copies_only_as_a_whole() -> None:
    beat: list[Note] = [(0, onset / 2, 0.5, 42) for onset in range(8)]
    loops = [
        score([(True, [(bar, onset, length, pitch) for bar in range(bars) for _, onset, length, pitch in beat])], bars)
        for bars in (4, 8, 16)
    ]
    assert found_in(loops) == [CopyKind.NONE] * 3
    one_note = [score([(False, [(0, 0.0, 4.0, pitch)])], bars) for pitch, bars in ((60, 1), (60, 2), (64, 1))]
    assert sorted(found_in(one_note)) == [CopyKind.NONE, CopyKind.NEAR, CopyKind.NEAR]
    short = [tracks(seed, bars=2) for seed in range(30)]
    changed = [moved(one, [2, 3, 0]) for one in short]
    assert set(found_in([score(one, 2) for one in (*short, *changed)])) == {CopyKind.NONE}
    whole = [moved(one, [2, 2, 0]) for one in short]
    assert found_in([score(one, 2) for one in (*short, *whole)]).count(CopyKind.NEAR) == 30


def test_pieces_without_notes_are_no_copies() -> None:
    empty = score([(False, [])], 4)
    other = score(tracks(1), _BARS)
    assert found_in([empty, empty, other, empty]) == [CopyKind.NONE] * 4
    assert found_in([]) == []


def test_the_piece_that_stays_does_not_depend_on_the_order() -> None:
    groups = [[score(one, _BARS), *(copy(one, how) for how in _ALL)] for one in (tracks(seed) for seed in range(12))]
    scores = [one for group in groups for one in group]
    first = None
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(scores))
        kinds = np.array(found_in([scores[index] for index in order]))
        stay = content_hashes(concatenate([scores[index].columns for index in order[kinds == CopyKind.NONE]]))
        music = sorted(map(bytes, stay))
        first = first or music
        assert music == first
        assert len(music) == len(groups), "one of each group stays"


def test_the_copy_with_the_most_bars_stays() -> None:
    made = tracks(3)
    cut, whole = copy(made, "one bar cut"), score(made, _BARS)
    assert found_in([cut, whole]) == [CopyKind.NEAR, CopyKind.NONE]
    assert found_in([whole, cut]) == [CopyKind.NONE, CopyKind.NEAR]


def test_many_pieces_with_equal_values_are_compared_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A malicious corpus, or a common one: nothing takes the square of its size."""
    pieces = 3000
    keys = music_keys(concatenate([score(tracks(1), _BARS).columns] * pieces))
    draw = np.random.default_rng(1)
    keys.exact[:] = draw.integers(1, 2**63, pieces)
    # The first selection is equal, everything else is not.
    keys.sketch[:, 1::8] = keys.sketch[:, 2::8] = draw.integers(0, 2**32, (pieces, 4))
    keys.sketch[:, 3::8] = draw.integers(0, 2**32, (pieces, 4))
    compared = 0
    near = duplicates._are_near

    def counted(one: Any, some: Int64Array, other: Any, others: Int64Array) -> Any:
        nonlocal compared
        compared += len(some)
        return near(one, some, other, others)

    monkeypatch.setattr(duplicates, "_are_near", counted)
    hashes = draw.integers(0, 2**63, (pieces, 2)).astype(np.uint64)
    assert not find_copies(keys, hashes, np.full(pieces, 100), np.arange(pieces)).any()
    assert 0 < compared <= 8 * 8 * pieces


def test_shared_music_of_two_corpora_is_counted() -> None:
    made = [tracks(seed) for seed in range(60)]
    training = music_keys(concatenate([score(one, _BARS).columns for one in made]))
    asked = [*(copy(one, "up") for one in made[:10]), *(copy(one, "a bar changed") for one in made[10:15])]
    asked += [score(tracks(seed), _BARS) for seed in range(500, 520)]
    found = shared_music(music_keys(concatenate([one.columns for one in asked])), training)
    assert (found.same, found.similar) == (10, 5)
    nothing = music_keys(score([(False, [])], 1).columns)
    assert shared_music(nothing, nothing) == duplicates.SharedMusic(same=0, similar=0)


@pytest.fixture
def shards(tmp_path: Path) -> list[str]:
    """Two shards of twelve pieces; the second has copies of pieces of the first in another key."""
    made = [tracks(seed) for seed in range(18)]
    higher = [copy(one, "up") for one in made[:6]]
    rows = [[score(one, _BARS) for one in made[:12]], [*(score(one, _BARS) for one in made[12:]), *higher]]
    return [
        str(write_shard(tmp_path / f"{number}.parquet", [one.to_bytes() for one in some]))
        for number, some in enumerate(rows)
    ]


def _open(shards: list[str], cache: Path) -> OpenCorpus:
    return open_corpus(build(GIGAMIDI, shards, cache=cache).shards)


def test_a_build_stores_the_keys_of_its_pieces(
    shards: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = _open(shards, tmp_path / "cache")
    found = [music_keys(file.shard.columns) for file in opened.files]
    monkeypatch.setattr("midigpt_core.corpus.similar.music_keys", None)
    keys = corpus_keys(opened)
    assert keys.exact.tolist() == [value for part in found for value in part.exact.tolist()]
    assert keys.sketch.tolist() == [values for part in found for values in part.sketch.tolist()]


@pytest.mark.parametrize("damage", ["cut", "flipped", "removed", "a folder"])
def test_damaged_keys_are_computed_again(shards: list[str], tmp_path: Path, damage: str) -> None:
    opened = _open(shards, tmp_path / "cache")
    whole = corpus_keys(opened)
    path = opened.shard_paths[0].with_name(KEYS_NAME)
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "flipped":
        path.write_bytes(content[:40] + bytes([content[40] ^ 1]) + content[41:])
    elif damage == "a folder":
        path.mkdir()
    again = corpus_keys(opened)
    assert (again.exact == whole.exact).all()
    assert (again.sketch == whole.sketch).all()
    if damage != "a folder":
        assert path.read_bytes() == content


def test_copies_of_a_corpus_are_remembered(shards: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = _open(shards, tmp_path / "cache")
    every: Int64Array = np.arange(opened.corpus.num_pieces)
    kinds = copies_among(opened, every)
    assert np.count_nonzero(kinds == CopyKind.NEAR) == 6
    (stored,) = opened.shard_paths[0].parent.glob("copies-*.bin")
    with monkeypatch.context() as patch:
        patch.setattr(duplicates, "find_copies", None)
        assert copies_among(open_corpus(opened.shard_paths), every).tolist() == kinds.tolist()
    stored.write_bytes(stored.read_bytes()[:-1])
    assert copies_among(opened, every).tolist() == kinds.tolist()
    # Of other pieces there are other copies.
    assert not copies_among(opened, every[:12]).any()


def test_the_report_counts_copies(shards: list[str], tmp_path: Path) -> None:
    opened = _open(shards, tmp_path / "cache")
    first, second = opened.shard_paths
    assert count_copies([first, second]) == {"exact": 0, "near": 6}
    assert count_copies([first, first]) == {"exact": 12, "near": 0}
    assert count_copies([]) == {"exact": 0, "near": 0}
    found = leakage([first], [second])
    assert (found.pieces, found.near_pieces, found.eval_pieces) == (0, 6, 12)
    found = leakage([first], [first])
    assert (found.pieces, found.near_pieces) == (12, 0)


def test_a_damaged_shard_without_keys_is_named(shards: list[str], tmp_path: Path) -> None:
    opened = _open(shards, tmp_path / "cache")
    path = opened.shard_paths[1]
    path.with_name(KEYS_NAME).unlink()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorpusError, match="damaged"):
        count_copies(opened.shard_paths)


def test_exact_copies_do_not_depend_on_half_of_the_hash() -> None:
    """Content hashes are compared whole."""
    keys = music_keys(concatenate([score(tracks(seed), _BARS).columns for seed in range(4)]))
    hashes: UInt64Array = np.array([[1, 2], [1, 3], [1, 2], [2, 2]], np.uint64)
    kinds = find_copies(keys, hashes, np.full(4, 9), np.arange(4))
    assert kinds.tolist() == [CopyKind.NONE, CopyKind.NONE, CopyKind.EXACT, CopyKind.NONE]
