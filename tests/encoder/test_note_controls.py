"""Controls of notes under random logits: schedules hold exactly, masks hold, and no document comes to a dead end.

The rules are written out here over the tokens' names; the code under test is not used to check itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from midigpt_core.errors import EncodingError
from midigpt_core.records import FREE, BarControls
from support.encoder import PRESETS, preset
from support.grammar import bars_of, case, complaint, write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from support.grammar import Bar, Case


class Asked:
    """The controls of one bar: pitches, weights of pitches and positions, and a schedule, each None or given."""

    def __init__(self, rng: np.random.Generator, sizes: dict[str, int]) -> None:
        self.pitches: NDArray[np.bool_] | None = None
        self.weights: NDArray[np.float32] | None = None
        self.positions: NDArray[np.float32] | None = None
        self.schedule: NDArray[np.int32] | None = None
        end = min(sizes["NoteOnset"], 128)
        if rng.random() < 0.5:
            self.pitches = rng.random(128) < rng.choice([0.05, 0.3, 0.9])
            self.pitches[rng.integers(end)] = True
        if rng.random() < 0.4:
            self.weights = (rng.random(128) * (rng.random(128) < 0.7)).astype(np.float32)
            allowed = np.flatnonzero(np.ones(end, bool) if self.pitches is None else self.pitches[:end])
            self.weights[rng.choice(allowed)] = 1
        self.live = np.arange(128) < end
        for given_ in (self.pitches, self.weights):
            self.live &= True if given_ is None else given_ > 0
        if rng.random() < 0.6:
            self.schedule = self._schedule(rng, sizes)
        elif rng.random() < 0.5:
            self.positions = (rng.random(sizes["TimeAbsolutePos"]) * (rng.random() < 0.7)).astype(np.float32)
            self.positions[:: int(rng.integers(1, 24))] = 1

    def _schedule(self, rng: np.random.Generator, sizes: dict[str, int]) -> NDArray[np.int32]:
        """Chords of live pitches, some of whose values are free."""
        rows = []
        for tick in sorted(rng.choice(sizes["TimeAbsolutePos"] // 2, rng.integers(0, 6), replace=False).tolist()):
            size = int(rng.integers(1, 1 + min(4, self.live.sum())))
            for pitch in sorted(rng.choice(np.flatnonzero(self.live), size, replace=False).tolist()):
                largest = sizes.get("Delta", 1) - 1
                rows.append(
                    [
                        tick,
                        pitch if rng.random() < 0.6 else FREE,
                        int(rng.integers(sizes.get("NoteDuration", 1) + 20)) if rng.random() < 0.6 else FREE,
                        int(rng.integers(1, max(sizes.get("VelocityLevel", 2), 2))) if rng.random() < 0.6 else FREE,
                        int(rng.integers(-largest, largest + 1)) if rng.random() < 0.6 else FREE,
                    ]
                )
        return np.array(rows, np.int32).reshape(-1, 5)


def controlled(made: Case, rng: np.random.Generator) -> tuple[Case, dict[tuple[int, int, int], Asked]]:
    """The case with random controls of some of its bars."""
    sizes = dict(made.encoder.config.codebook.domains)
    cells = made.request.cells
    asked = {
        (int(row), int(track), int(bar)): Asked(rng, sizes)
        for row, track, bar in zip(*np.nonzero(cells), strict=True)
        if rng.random() < 0.8
    }
    return with_controls(made, tables(asked, cells.shape, sizes["TimeAbsolutePos"])), asked


def with_controls(made: Case, controls: BarControls) -> Case:
    return type(made)(made.encoder, made.prompts, attrs.evolve(made.request, bar_controls=controls))


def tables(asked: dict[tuple[int, int, int], Asked], shape: Sequence[int], positions: int) -> BarControls:
    rows = {name: np.full(shape, -1, np.int32) for name in ("pitches", "weights", "positions", "schedule")}
    values: dict[str, list[NDArray[Any]]] = {name: [] for name in rows}
    for place, bar in asked.items():
        for name, of_cells in rows.items():
            if getattr(bar, name) is not None:
                of_cells[place] = len(values[name])
                values[name].append(getattr(bar, name))
    return BarControls(
        pitch_rows=rows["pitches"],
        pitches=np.array(values["pitches"], bool).reshape(-1, 128),
        pitch_weight_rows=rows["weights"],
        pitch_weights=np.array(values["weights"], np.float32).reshape(-1, 128),
        position_weight_rows=rows["positions"],
        position_weights=np.array(values["positions"], np.float32).reshape(-1, positions),
        schedule_rows=rows["schedule"],
        schedule_offsets=np.cumsum([0, *map(len, values["schedule"])], dtype=np.int64),
        scheduled_notes=np.concatenate([np.zeros((0, 5), np.int32), *values["schedule"]]),
    )


def notes_of(bar: Bar, has_delta: bool) -> list[tuple[int, int, int, int, int]]:
    """The notes of a bar: tick, pitch, duration value, velocity level, delta."""
    tick, level, delta, sign, notes = 0, 0, 0, 1, []
    for name, value in bar.body:
        if name == "TimeAbsolutePos":
            tick = value
        elif name == "VelocityLevel":
            level = value
        elif name == "DeltaDirection":
            sign = -1
        elif name == "Delta":
            delta = sign * value
        elif name == "NoteOnset":
            notes.append([tick, value, 0, level, delta if has_delta else 0])
            delta, sign = 0, 1
        elif name == "NoteDuration":
            notes[-1][2] = value
    return [tuple(note) for note in notes]  # type: ignore[misc]


def fitting(asked: Asked, bar: Bar, limits: dict[str, int]) -> list[list[int]]:
    """The scheduled notes for which the bar has room."""
    assert asked.schedule is not None
    rows: list[list[int]] = []
    counts: dict[int, int] = {}
    for row in asked.schedule.tolist():
        counts[row[0]] = counts.get(row[0], 0) + 1
        too_many = limits.get("max_polyphony", 0) and counts[row[0]] > limits["max_polyphony"]
        if row[0] < bar.ticks and not too_many:
            rows.append(row)
    return rows[: limits.get("max_notes") or None]


def complaint_of(made: Case, bar: Bar, asked: Asked, limits: dict[str, int]) -> str:
    sizes = dict(made.encoder.config.codebook.domains)
    notes = notes_of(bar, "Delta" in sizes)
    for tick, pitch, *_ in notes:
        if not asked.live[pitch]:
            return f"pitch {pitch} is masked or has weight 0"
        if asked.positions is not None and tick and not asked.positions[tick] > 0:
            return f"tick {tick} has weight 0"
    if asked.schedule is None:
        return ""
    expected = fitting(asked, bar, limits)
    if [note[0] for note in notes] != [row[0] for row in expected]:
        return f"ticks {[note[0] for note in notes]}, expected {[row[0] for row in expected]}"
    written = {name for name, _ in bar.body}
    for note, row in zip(notes, expected, strict=True):
        # Chords are drawn from live pitches in ascending order, so each free note has room where it is.
        if row[1] not in (FREE, note[1]):
            return f"pitch {note[1]}, expected {row[1]}"
        longest = sizes.get("NoteDuration", 1) - 1
        if not bar.drum and row[2] != FREE and not limits.get("max_polyphony") and note[2] != min(row[2], longest):
            return f"duration {note[2]}, expected {row[2]}"
        if row[3] != FREE and "VelocityLevel" in written and note[3] != row[3]:
            return f"velocity {note[3]}, expected {row[3]}"
        delta = row[4] if row[4] >= 0 or "DeltaDirection" in sizes else 0
        if row[4] != FREE and {"Delta", "DeltaDirection"} & written and note[4] != delta:
            return f"delta {note[4]}, expected {delta}"
    return ""


def check(name: str, rng: np.random.Generator, count: int, *, infill: bool, **limits: int) -> int:
    made, asked = controlled(case(preset(name), rng, count, infill=infill, **limits), rng)
    for row, document in enumerate(write(made, rng)):
        written, _ = bars_of(made, row, document)
        cells = [(int(track), int(bar)) for track, bar in zip(*np.nonzero(made.request.cells[row]), strict=True)]
        assert len(written) == len(cells)
        for bar, cell in zip(written, cells, strict=True):
            assert not complaint(made, row, bar), (complaint(made, row, bar), bar)
            if (row, *cell) in asked:
                problem = complaint_of(made, bar, asked[row, *cell], limits)
                assert not problem, (problem, bar, asked[row, *cell].schedule)
    return count


LIMITS: Sequence[dict[str, int]] = ({}, {"max_notes": 3}, {"max_polyphony": 2}, {"max_notes": 4, "max_polyphony": 1})


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(PRESETS), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(LIMITS))
def test_controls_hold_whatever_the_model_says(name: str, seed: int, infill: bool, limits: dict[str, int]) -> None:
    check(name, np.random.default_rng(seed), 8, infill=infill, **limits)


@pytest.mark.slow
@pytest.mark.parametrize("infill", [True, False])
@pytest.mark.parametrize("name", PRESETS)
def test_twenty_thousand_sequences_without_a_dead_end(name: str, infill: bool) -> None:
    """2,500 sequences for each preset and mode."""
    rng = np.random.default_rng(10)
    assert sum(check(name, rng, 125, infill=infill, **LIMITS[i % 4]) for i in range(20)) == 2500


def test_a_document_ends_within_its_tokens_and_with_its_schedules() -> None:
    """Whatever comes before them, scheduled notes have room, or the document is refused at the start."""
    refused = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        made, asked = controlled(case(preset("expressive"), rng, 1, infill=True), rng)
        limit = len(made.prompts.tokens) + int(rng.integers(0, 90))
        request = attrs.evolve(made.request, max_tokens=np.array([limit], np.int32))
        try:
            (document,) = write(type(made)(made.encoder, made.prompts, request), rng)
        except EncodingError as error:
            assert "scheduled notes take" in str(error)
            refused += 1
            continue
        assert len(document) <= limit
        written, _ = bars_of(made, 0, document)
        for bar, (track, index) in zip(written, np.argwhere(made.request.cells[0]).tolist(), strict=True):
            if (0, track, index) in asked:
                assert not complaint_of(made, bar, asked[0, track, index], {})
    assert 0 < refused < 40


def test_a_row_depends_on_its_own_controls_alone() -> None:
    """Tables of other documents change nothing in what is allowed and how it is weighed."""
    encoder = preset("yellow")
    rng = np.random.default_rng(5)
    made, asked = controlled(case(encoder, rng, 4, infill=True), rng)
    alone = {place: bar for place, bar in asked.items() if place[0] == 2}
    sizes = dict(encoder.config.codebook.domains)
    lone = with_controls(made, tables(alone, made.request.cells.shape, sizes["TimeAbsolutePos"]))
    seen = []
    for each in (made, lone):
        grammar = encoder.grammar()
        grammar.start(each.prompts, each.request)
        steps = []
        mask = np.zeros((4, encoder.vocab_size), bool)
        weights = np.ones((4, encoder.vocab_size))
        while not grammar.finished()[2]:
            grammar.mask(mask)
            grammar.weights(weights)
            steps.append((mask[2].tobytes(), weights[2].tobytes()))
            chosen = np.where(mask.any(axis=1), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1), -1)
            grammar.advance(chosen.astype(np.int32))
        seen.append(steps)
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pitch_rows": np.zeros((2, 3, 4), np.int64)}, "pitch_rows must be a NumPy array"),
        ({"pitch_rows": np.full((2, 3, 4), 3, np.int32)}, "name row 3"),
        ({"schedule_rows": np.zeros((2, 3, 4), np.int32)}, "name row 0"),
        ({"pitches": np.ones((1, 127), bool)}, "pitches has another shape"),
        ({"pitch_weights": np.full((1, 128), -1, np.float32)}, "weights must be finite"),
        ({"position_weights": np.full((1, 4), np.nan, np.float32)}, "weights must be finite"),
        ({"position_weights": np.ones(4, np.float32)}, "position_weights has another shape"),
        ({"schedule_offsets": np.array([0, 5])}, "schedule_offsets do not fit"),
        ({"schedule_offsets": np.zeros(0, np.int64)}, "schedule_offsets must have"),
        ({"scheduled_notes": np.zeros((1, 4), np.int32)}, "scheduled_notes has another shape"),
    ],
)
def test_wrong_tables_are_refused(change: dict[str, Any], message: str) -> None:
    made = case(preset("yellow"), np.random.default_rng(1), 2, infill=True)
    controls = attrs.evolve(tables({}, made.request.cells.shape, 192), **change)
    with pytest.raises((TypeError, EncodingError), match=message):
        made.encoder.grammar().start(made.prompts, attrs.evolve(made.request, bar_controls=controls))
    grammar = made.encoder.grammar()
    grammar.start(made.prompts, made.request)
    with pytest.raises(ValueError, match=r"out must be float64\[2, "):
        grammar.weights(np.ones((1, 3)))
