"""Keys that are equal for the same music in another key, tempo, loudness, instrument or order of tracks."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from midigpt_core.score.columns import concatenate
from midigpt_core.score.reading import read_one
from midigpt_core.score.similarity import joined_keys, music_keys

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.records import ScoreColumns


@pytest.fixture(scope="module")
def pieces(midi_folder: Path) -> list[ScoreColumns]:
    read = [read_one(file.read_bytes(), file.name) for file in sorted(midi_folder.glob("*.mid"))]
    return [columns for columns in read if len(columns.note_pitch)]


def transposed(columns: ScoreColumns, semitones: int) -> ScoreColumns:
    """All notes but those of drums moved."""
    tracks = np.repeat(columns.track_drum, np.diff(columns.track_cell_end, prepend=0))
    drum = np.repeat(tracks, np.diff(columns.cell_note_end, prepend=0)) != 0
    moved = columns.note_pitch.astype(np.int64) + np.where(drum, 0, semitones)
    return attrs.evolve(columns, note_pitch=moved.astype(np.uint8))


def reordered(columns: ScoreColumns) -> ScoreColumns:
    """The tracks of one piece in reverse."""
    cell_ends = np.concatenate([[0], columns.track_cell_end])
    note_ends = np.concatenate([[0], columns.cell_note_end])
    tracks = np.arange(len(columns.track_program))[::-1]
    cells = np.concatenate([np.arange(cell_ends[track], cell_ends[track + 1]) for track in tracks])
    notes = np.concatenate([np.arange(note_ends[cell], note_ends[cell + 1]) for cell in cells])
    changed: dict[str, Any] = {name: getattr(columns, name)[notes] for name in vars_of(columns, "note_")}
    return attrs.evolve(
        columns,
        **changed,
        **{name: getattr(columns, name)[tracks] for name in ("track_program", "track_drum", "track_nomml")},
        track_cell_end=np.cumsum(np.diff(cell_ends)[tracks]).astype(np.int32),
        cell_bar=columns.cell_bar[cells],
        cell_note_end=np.cumsum(np.diff(note_ends)[cells]).astype(np.int32),
    )


def vars_of(columns: ScoreColumns, prefix: str) -> list[str]:
    names = attrs.fields_dict(type(columns))
    return [name for name in names if name.startswith(prefix) and not name.endswith("offsets")]


def test_every_piece_of_the_folder_has_its_own_key(pieces: list[ScoreColumns]) -> None:
    keys = music_keys(concatenate(pieces))
    assert len(set(keys.exact.tolist())) == len(pieces)
    assert (keys.bars > 0).all()


@pytest.mark.parametrize("change", ["up", "down", "louder", "slower", "instrument", "tracks"])
def test_the_same_music_has_the_same_keys(pieces: list[ScoreColumns], change: str) -> None:
    changed = []
    for columns in pieces:
        match change:
            case "up":
                changed.append(transposed(columns, 3))
            case "down":
                changed.append(transposed(columns, -5))
            case "louder":
                changed.append(attrs.evolve(columns, note_velocity=np.full_like(columns.note_velocity, 100)))
            case "slower":
                changed.append(attrs.evolve(columns, tempo=columns.tempo * 2))
            case "instrument":
                changed.append(attrs.evolve(columns, track_program=np.full_like(columns.track_program, 7)))
            case "tracks":
                changed.append(reordered(columns))
    before, after = music_keys(concatenate(pieces)), music_keys(concatenate(changed))
    assert before.exact.tolist() == after.exact.tolist()
    assert before.sketch.tolist() == after.sketch.tolist()


@pytest.mark.parametrize("column", ["note_pitch", "note_onset", "note_duration"])
def test_one_changed_note_changes_the_exact_key_and_little_of_the_sketch(
    pieces: list[ScoreColumns], column: str
) -> None:
    for columns in pieces:
        values = getattr(columns, column).copy()
        values[len(values) // 2] += 1
        before, after = music_keys(columns), music_keys(attrs.evolve(columns, **{column: values}))
        assert before.exact.tolist() != after.exact.tolist()
        if before.bars[0] > 50:
            assert (before.sketch == after.sketch).mean() > 0.7


def test_a_bar_moved_changes_the_exact_key(pieces: list[ScoreColumns]) -> None:
    for columns in pieces:
        moved = attrs.evolve(columns, cell_bar=columns.cell_bar + (columns.cell_bar > 0))
        if (columns.cell_bar > 0).any():
            assert music_keys(moved).exact.tolist() != music_keys(columns).exact.tolist()


def mixed(value: int) -> int:
    """The finaliser of splitmix64."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
    return value ^ value >> 31


def keys_one_by_one(columns: ScoreColumns) -> tuple[int, list[int], int]:
    """The keys of one piece, note by note: checkpoints and held-out pieces depend on them, so they never change."""
    cells = []
    starts = [0, *columns.track_cell_end.tolist()]
    notes = [0, *columns.cell_note_end.tolist()]
    for track, (first, end) in enumerate(itertools.pairwise(starts)):
        drum = bool(columns.track_drum[track])
        for cell in range(first, end):
            run = range(notes[cell], notes[cell + 1])
            low = 0 if drum else min(int(columns.note_pitch[note]) for note in run)
            total = sum(
                mixed(
                    mixed(int(columns.note_onset[note]) << 32 | int(columns.note_duration[note]))
                    + int(columns.note_pitch[note])
                    - low
                )
                for note in run
            )
            cells.append((track, drum, int(columns.cell_bar[cell]), low, mixed(total + drum)))
    reference = min((low for _, drum, _, low, _ in cells if not drum), default=127)
    exact = 0
    for track in range(len(starts) - 1):
        placed = [
            mixed(value + mixed(bar << 32 | (0 if drum else low - reference)))
            for of, drum, bar, low, value in cells
            if of == track
        ]
        exact += mixed(sum(placed)) if placed else 0
    values = {value for *_, value in cells}
    own = [min((v & 0xFFFFFFFE for v in values if v >> 59 == bin_), default=None) for bin_ in range(32)]
    sketch = []
    for bin_ in range(32):
        away = next(step for step in range(32) if own[(bin_ + step) % 32] is not None)
        sketch.append((own[(bin_ + away) % 32] + away * (away + 2)) % 2**32)  # type: ignore[operator]
    return exact % 2**64, sketch, len(values)


def test_keys_are_those_of_earlier_versions(pieces: list[ScoreColumns]) -> None:
    keys = music_keys(concatenate(pieces))
    small = [number for number, columns in enumerate(pieces) if len(columns.note_pitch) < 3000]
    assert small
    for number in small:
        found = int(keys.exact[number]), keys.sketch[number].tolist(), int(keys.bars[number])
        assert found == keys_one_by_one(pieces[number])
    assert int(music_keys(pieces[small[0]]).exact[0]) == 14211535650361300511


def test_keys_do_not_depend_on_the_pieces_around(pieces: list[ScoreColumns]) -> None:
    whole, parts = music_keys(concatenate(pieces)), joined_keys([music_keys(one) for one in pieces])
    assert whole.exact.tolist() == parts.exact.tolist()
    assert whole.sketch.tolist() == parts.sketch.tolist()
    assert whole.bars.tolist() == parts.bars.tolist()


def test_columns_that_contradict_one_another_are_refused(pieces: list[ScoreColumns]) -> None:
    beyond = np.full_like(pieces[0].cell_note_end, 2**30)
    with pytest.raises(ValueError, match="piece 0"):
        music_keys(attrs.evolve(pieces[0], cell_note_end=beyond))


def test_pieces_without_notes_have_keys(pieces: list[ScoreColumns]) -> None:
    silent = attrs.evolve(
        pieces[0],
        **{name: getattr(pieces[0], name)[:0] for name in vars_of(pieces[0], "note_")},
        **{name: getattr(pieces[0], name)[:0] for name in vars_of(pieces[0], "cell_")},
        track_cell_end=np.zeros_like(pieces[0].track_cell_end),
        note_offsets=np.zeros(2, np.int64),
        cell_offsets=np.zeros(2, np.int64),
    )
    keys = music_keys(concatenate([silent, pieces[1], silent]))
    assert keys.exact[0] == keys.exact[2] == 0
    assert keys.exact[1] == music_keys(pieces[1]).exact[0]
