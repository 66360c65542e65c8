"""The note controls of one request as the tables that a grammar follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core import keys
from midigpt_core.inference.control_checks import bar_ticks, controls_by_bars
from midigpt_core.inference.fields import RequestValidationError
from midigpt_core.inference.problems import Found
from midigpt_core.keys import Stage
from midigpt_core.records import FREE, BarControls
from midigpt_core.score import editing
from midigpt_core.score.columns import in_memory_corpus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.inference.control_checks import ControlsOfBar
    from midigpt_core.inference.controls import PitchMask, Remix
    from midigpt_core.inference.planner import Step
    from midigpt_core.inference.prompts import Job, Prompter
    from midigpt_core.inference.request import GenerationRequest, TrackPrompt
    from midigpt_core.records import BoolArray, Float32Array, Int32Array, Int64Array, NoteGrid
    from midigpt_core.score import Score

#: Tokens of one note, at most: position, velocity, two of microtiming, pitch, duration.
_TOKENS_PER_NOTE = 6
_TICK, _PITCH = 0, 1
_NO_NOTES = np.zeros((0, 5), np.int32)

Cell = tuple[int, int]


@frozen
class _Rows:
    """The rows of one bar in the tables; -1: none."""

    pitches: int = -1
    pitch_weights: int = -1
    position_weights: int = -1


@frozen(eq=False)
class _Drawn:
    """Notes of bars to remix that are drawn together: all those of a track with the same control."""

    track: int
    control: Remix
    #: int64[n], their places among the notes of all bars to remix.
    notes: Int64Array


class NoteTables:
    """The note controls of a request's bars. Made once per session; :meth:`of_jobs` is called once per batch."""

    def __init__(self, request: GenerationRequest, encoder: Encoder, score: Score, grid: NoteGrid) -> None:
        self._encoder = encoder
        self._limits = request.config.polyphony_hard_limit, request.config.density_hard_limit
        self._score = score
        self._grid = grid
        self._pitches: dict[bytes, int] = {}
        self._pitch_weights: dict[bytes, int] = {}
        self._position_weights: dict[bytes, int] = {}
        self._rows: dict[Cell, _Rows] = {}
        #: int32[n, 5] of each bar whose notes begin at given positions.
        self._schedules: dict[Cell, Int32Array] = {}
        self._remixed: dict[Cell, tuple[Remix, PitchMask | None]] = {}
        for prompt in request.tracks:
            if not prompt.ignore and (prompt.controls or prompt.bar_controls):
                for controls, bars in controls_by_bars(prompt).items():
                    self._add(prompt, controls, bars)
        #: Notes that must be written, by cell.
        self._due = {cell: len(notes) for cell, notes in self._schedules.items()}
        if self._remixed:
            notes = editing.note_table(score)
            cells = np.zeros((len(score.tracks), editing.num_bars(score)), np.int64)
            np.add.at(cells, (notes.track, notes.bar), 1)
            self._due |= {cell: int(cells[cell]) for cell in self._remixed}
        #: The notes of all bars to remix, int32[n, 5]; each bar's run of them; and how they are drawn.
        self._reference = _NO_NOTES
        self._runs: dict[Cell, slice] = {}
        self._groups: list[_Drawn] = []
        self._drawn: dict[int, Int32Array] = {}

    @classmethod
    def of(cls, request: GenerationRequest, encoder: Encoder, score: Score) -> NoteTables | None:
        """The tables of a valid request on the score to work on; None without note controls."""
        if encoder.note_grid is None:
            return None
        tables = cls(request, encoder, score, encoder.note_grid)
        return tables if tables._rows or tables._schedules or tables._remixed else None

    def _add(self, prompt: TrackPrompt, controls: ControlsOfBar, bars: Sequence[int]) -> None:
        track = self._score.tracks[prompt.id]
        pitch, rhythm = controls.pitch, controls.rhythm
        rows = _Rows(
            pitches=-1 if pitch is None else _row(self._pitches, pitch.allowed(drum=track.is_drum)),
            pitch_weights=-1
            if pitch is None
            else _row(self._pitch_weights, pitch.weights(drum=track.is_drum, pitches=self._grid.pitches)),
            position_weights=-1
            if rhythm is None or rhythm.positions is not None
            else _row(self._position_weights, rhythm.weights(self._grid)),
        )
        schedule = None
        if rhythm is not None and rhythm.positions is not None:
            ticks = np.repeat(*np.array(rhythm.positions, np.int32).T)
            schedule = np.full((len(ticks), 5), FREE, np.int32)
            schedule[:, _TICK] = ticks
            if not rhythm.microtiming:
                schedule[:, -1] = 0
        for bar in bars:
            if rows != _Rows():
                self._rows[prompt.id, bar] = rows
            if schedule is not None:
                within = schedule[:, _TICK] < bar_ticks(prompt, track, bar, self._encoder)
                self._schedules[prompt.id, bar] = schedule[within]
            if controls.remix is not None:
                self._remixed[prompt.id, bar] = controls.remix, pitch

    def tokens_due(self, cells: Iterable[Cell]) -> int:
        """The tokens of the notes that must be written in ``cells``, at most."""
        _, density = self._limits
        counts = (self._due.get(cell, 0) for cell in cells)
        return _TOKENS_PER_NOTE * sum(min(count, density) if density else count for count in counts)

    def add_references(self, steps: Sequence[Step], prompter: Prompter) -> None:
        """Read the notes of the bars to remix, before any step. Raises EncodingError for bars that the encoder cannot
        write, and RequestValidationError for chords with more notes than ``pitch_mask`` leaves pitches."""
        pairs = [
            (step, track)
            for step in steps
            for track in step.tracks
            if any(cell in self._remixed for cell in step.cells if cell[0] == track)
        ]
        if not pairs:
            return
        found = self._encoder.bar_notes(in_memory_corpus([self._score]), prompter.reference_windows(pairs))
        bars = np.array([step.start_bar for step, _ in pairs])[found.window] + found.bar
        tracks = np.array([track for _, track in pairs])[found.window]
        wanted: BoolArray = np.zeros((len(self._score.tracks), editing.num_bars(self._score)), np.bool_)
        wanted[tuple(np.array(list(self._remixed)).T)] = True
        # A window shows bars that other steps write as well: each is read in its own step.
        own = np.zeros((len(pairs), wanted.shape[1]), np.bool_)
        for index, (step, track) in enumerate(pairs):
            own[index, [bar for of, bar in step.cells if of == track]] = True
        kept = wanted[tracks, bars] & own[found.window, bars]
        places = np.stack([tracks, bars], axis=1)[kept]
        notes = found.notes[kept]
        order = np.lexsort((notes[:, _PITCH], notes[:, _TICK], places[:, 1], places[:, 0]))
        places, self._reference = places[order], np.ascontiguousarray(notes[order])
        cells, firsts = np.unique(places, axis=0, return_index=True)
        ends = [*firsts.tolist(), len(places)][1:]
        for (track, bar), first, end in zip(cells.tolist(), firsts.tolist(), ends, strict=True):
            self._runs[track, bar] = slice(first, end)
        self._group()
        self._check_chords()

    def _group(self) -> None:
        runs: dict[tuple[int, Remix], list[Int64Array]] = {}
        for cell, run in self._runs.items():
            runs.setdefault((cell[0], self._remixed[cell][0]), []).append(np.arange(run.start, run.stop))
        self._groups = [_Drawn(track, control, np.concatenate(notes)) for (track, control), notes in runs.items()]

    def _check_chords(self) -> None:
        polyphony, _ = self._limits
        found = Found()
        for (track, bar), run in self._runs.items():
            mask = self._remixed[track, bar][1]
            if mask is None:
                continue
            drum = self._score.tracks[track].is_drum
            playable = int(mask.playable(drum=drum, pitches=self._grid.pitches).sum())
            _, chords = np.unique(self._reference[run, _TICK], return_counts=True)
            most = int(chords.max())
            if min(most, polyphony or most) > playable:
                after = f": remix keeps chords of {most} notes, and pitch_mask leaves {playable} pitches. Allow more."
                found.add("bars ", track, bars=[bar], after=after)
        if len(found):
            raise RequestValidationError(found.told())

    def changes(self, cells: Iterable[Cell], seed: int) -> bool:
        """Whether steps of a candidate with ``seed`` may write anything new in ``cells``."""
        notes = self._with_draws(seed)
        return any(
            cell not in self._remixed or cell not in self._runs or bool((notes[self._runs[cell]] == FREE).any())
            for cell in cells
        )

    def of_jobs(self, jobs: Sequence[Job], seeds: Sequence[int], shape: tuple[int, ...]) -> BarControls:
        """The tables of N documents with ``shape`` (N, T, B); ``seeds``: those of their candidates."""
        pitches, pitch_weights, position_weights, scheduled = (np.full(shape, -1, np.int32) for _ in range(4))
        schedules: list[Int32Array] = []
        for number, (job, seed) in enumerate(zip(jobs, seeds, strict=True)):
            for cell in job.step.cells:
                place = number, job.tracks.index(cell[0]), cell[1] - job.step.start_bar
                rows = self._rows.get(cell)
                if rows is not None:
                    pitches[place] = rows.pitches
                    pitch_weights[place] = rows.pitch_weights
                    position_weights[place] = rows.position_weights
                schedule = self._schedules.get(cell)
                if cell in self._runs:
                    schedule = self._with_draws(seed)[self._runs[cell]]
                if schedule is not None:
                    scheduled[place] = len(schedules)
                    schedules.append(schedule)
        return BarControls(
            pitch_rows=pitches,
            pitches=_table(self._pitches, np.bool_, 128),
            pitch_weight_rows=pitch_weights,
            pitch_weights=_table(self._pitch_weights, np.float32, 128),
            position_weight_rows=position_weights,
            position_weights=_table(self._position_weights, np.float32, self._grid.positions),
            schedule_rows=scheduled,
            schedule_offsets=np.cumsum([0, *map(len, schedules)], dtype=np.int64),
            scheduled_notes=np.concatenate([_NO_NOTES, *schedules]),
        )

    def _with_draws(self, seed: int) -> Int32Array:
        """The notes of all bars to remix, :data:`FREE` where a candidate with ``seed`` rewrites them."""
        if seed not in self._drawn:
            notes = self._reference.copy()
            for number, group in enumerate(self._groups):
                key = keys.derive(keys.derive(seed, Stage.REMIX, group.track), Stage.REMIX, number)
                uniform = keys.uniforms(key, len(group.notes))[0]
                chosen = group.notes[np.argsort(uniform, kind="stable")[: group.control.count(len(group.notes))]]
                if group.control.mode == "full":
                    notes[chosen, _PITCH:] = FREE
                else:
                    notes[chosen, _PITCH] = FREE
            self._drawn[seed] = notes
        return self._drawn[seed]


def joined_controls(
    requests: Sequence[BarControls | None], counts: Sequence[int], shape: tuple[int, ...]
) -> BarControls | None:
    """The tables of several batches of ``counts`` documents as one of ``shape`` (N, T, B)."""
    given = [(controls, first) for controls, first in zip(requests, np.cumsum([0, *counts]), strict=False) if controls]
    if not given:
        return None
    tables = ("pitch", "pitches"), ("pitch_weight", "pitch_weights"), ("position_weight", "position_weights")
    columns: dict[str, np.ndarray] = {}
    for kind, table in tables:
        columns[table] = np.concatenate([getattr(controls, table) for controls, _ in given])
        sizes = [len(getattr(controls, table)) for controls, _ in given]
        columns[f"{kind}_rows"] = _joined_rows(
            [getattr(each, f"{kind}_rows") for each, _ in given], given, sizes, shape
        )
    sizes = [len(controls.schedule_offsets) - 1 for controls, _ in given]
    columns["schedule_rows"] = _joined_rows([controls.schedule_rows for controls, _ in given], given, sizes, shape)
    columns["scheduled_notes"] = np.concatenate([controls.scheduled_notes for controls, _ in given])
    lengths = np.concatenate([np.diff(controls.schedule_offsets) for controls, _ in given])
    columns["schedule_offsets"] = np.cumsum([0, *lengths], dtype=np.int64)
    return BarControls(**columns)


def _joined_rows(
    rows: Sequence[Int32Array],
    given: Sequence[tuple[BarControls, int]],
    sizes: Sequence[int],
    shape: tuple[int, ...],
) -> Int32Array:
    out = np.full(shape, -1, np.int32)
    for own, (_, first), before in zip(rows, given, np.cumsum([0, *sizes]), strict=False):
        count, tracks, bars = own.shape
        out[first : first + count, :tracks, :bars] = np.where(own < 0, -1, own + before)
    return out


def _row(table: dict[bytes, int], values: BoolArray | Float32Array | None) -> int:
    return -1 if values is None else table.setdefault(values.tobytes(), len(table))


def _table(rows: dict[bytes, int], kind: type, columns: int) -> np.ndarray:
    return np.frombuffer(b"".join(rows), kind).reshape(-1, columns)
