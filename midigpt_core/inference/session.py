"""Carries out one request on one score, step by step."""

from __future__ import annotations

import secrets
import time
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

import attrs
import numpy as np
from attrs import frozen

from midigpt_core import keys
from midigpt_core.errors import ComponentError
from midigpt_core.inference import planner, validation
from midigpt_core.inference.chances import shuffled, with_some_bars
from midigpt_core.inference.control_checks import signatures_of
from midigpt_core.inference.fitting import Fitter, Planned
from midigpt_core.inference.generation import generate, joined, sampler_of
from midigpt_core.inference.guarded import guarded
from midigpt_core.inference.note_tables import NoteTables
from midigpt_core.inference.prompts import Job, Prompter
from midigpt_core.inference.request import InferenceConfig
from midigpt_core.keys import Stage
from midigpt_core.plugins.faults import faults_named
from midigpt_core.records import GrammarRequest
from midigpt_core.score import editing
from midigpt_core.score.bar_fingerprints import LEAST_NOTES, bar_fingerprints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Encoder, Grammar, KnownBars, SequenceReader
    from midigpt_core.inference.generation import Generated
    from midigpt_core.inference.request import GenerationRequest
    from midigpt_core.inference.trained import TrainedWindows
    from midigpt_core.records import BoolArray, Float64Array, Int32Array, TokenBatch, UInt64Array
    from midigpt_core.score import Score
    from midigpt_core.score.editing import NoteTable

#: Documents that are generated together. More of them share each read of the weights, and take more memory.
_TOGETHER = 32
#: Progress is reported at most once per this many chosen tokens.
_TELL_EVERY = 32
#: Notes of a step are reported at most this often, and at its end.
_NOTES_EVERY_S = 0.25
#: Until there are notes to report, they are looked for this often. Each look decodes the documents so far.
_LOOK_EVERY_S = 0.02
#: Seeds are smaller than this.
_SEEDS = 2**63
#: The upper limit of ``InferenceConfig.temperature``. Escalation would exceed every number.
_HIGHEST_TEMPERATURE: float = attrs.fields(InferenceConfig).temperature.metadata["limits"].high


@frozen(kw_only=True)
class Progress:
    """The progress of a session."""

    steps_done: int
    steps: int
    #: Complete bars of all candidates, and how many there will be.
    bars_done: int
    bars: int
    #: Tokens chosen so far.
    tokens: int
    seconds: float


@frozen(kw_only=True, eq=False)
class FreshNotes:
    """Notes that a step has generated since the last report, before it is known whether they pass the checks."""

    step: int
    candidate: int
    #: 1, 2, …: the notes of earlier attempts of the step and candidate are void.
    attempt: int
    #: At the score's resolution.
    notes: NoteTable


@frozen(kw_only=True)
class Dropped:
    """Context tracks that one step left out to fit the model."""

    step: int
    candidate: int
    #: Tracks that the step did not see.
    tracks: tuple[int, ...]


class Engine(Protocol):
    """The part of an :class:`~midigpt_core.inference.engine.InferenceEngine`."""

    encoder: Encoder
    #: The encoder's component, for messages.
    component: str
    #: The components whose plugins are named if their code fails.
    parts: tuple[ComponentRef, ...]
    #: The windows that the model was trained on.
    trained: TrainedWindows
    #: The bars of the music that the model was trained on; None: not known.
    known_bars: KnownBars | None

    @property
    def max_tokens(self) -> int:
        """The length of the longest sequence that the model can read."""

    def reader(self) -> SequenceReader:
        """A reader of sequences for the model."""


class SamplingSession:
    """A request that is checked and planned; :meth:`run` generates.

    :meth:`midigpt_core.inference.InferenceEngine.session` makes it.

    ``cancel_event`` ends the planning when it is set; the session then generates nothing. Raises
    :class:`midigpt_core.inference.RequestValidationError` with every problem of the request.
    """

    def __init__(
        self, engine: Engine, score: Score, request: GenerationRequest, cancel_event: Event | None = None
    ) -> None:
        #: The engine's encoder, with errors that name it.
        self.encoder = encoder = guarded(engine.encoder, engine.component)
        validation.check(request, score, encoder, engine.trained)
        if request.config.novel and engine.known_bars is None:
            raise validation.RequestValidationError(
                ["config.novel: the bars that the model was trained on are not known. Give its engine known_bars."]
            )
        self.score = score
        config = request.config
        #: The seed in use: the request's, or a fresh one for -1.
        self.seed = config.seed if config.seed >= 0 else secrets.randbits(32)
        #: The request, with those of its infill bars that ``infill_probability`` keeps.
        self.request = request = with_some_bars(request, self.seed)
        self._engine = engine
        self._num_bars = editing.num_bars(score)
        window = planner.window_of(config, self._num_bars, engine.trained.sizes)
        self._start = _prepared(score, request, encoder, window)
        self._prompter = Prompter(encoder, request)
        self._ignored = frozenset(prompt.id for prompt in request.tracks if prompt.ignore)
        self._never_seen = _never_seen(self._start, request, self._num_bars)
        self._note_tables = NoteTables.of(request, encoder, self._start)
        self._fitter = Fitter(
            self._prompter,
            config,
            max_tokens=engine.max_tokens,
            trained=engine.trained,
            tokens_due=(lambda _: 0) if self._note_tables is None else self._note_tables.tokens_due,
        )
        steps = planner.plan(request, self._num_bars, engine.trained)
        if config.shuffle:
            steps = shuffled(steps, self.seed)
        #: The steps, each with the tracks it sees.
        if cancel_event is None:
            cancel_event = Event()
        self.plan: list[Planned] = self._fitter.fit_all(
            self._start, steps, self._job, self._num_bars, cancel_event.is_set
        )
        #: The plan may lack steps.
        self._ended_in_planning = Event()
        if cancel_event.is_set():
            self._ended_in_planning.set()
        if self._note_tables is not None:
            self._note_tables.add_references([planned.step for planned in self.plan], self._prompter)
        #: Windows that were made narrower to fit: (bars as planned first, bars now) for each such step.
        self.narrowed: list[tuple[int, int]] = [
            (window, planned.step.num_bars) for planned in self.plan if planned.step.num_bars != window
        ]
        self._written_tracks = np.array(sorted({track for planned in self.plan for track in planned.step.tracks}), int)
        #: int32[written tracks, bars]: the step that writes each cell, -1 where none does.
        self._writer = np.full((len(self._written_tracks), self._never_seen.shape[1]), -1, np.int32)
        for number, planned in enumerate(self.plan):
            tracks, bars = np.array(planned.step.cells).T
            self._writer[np.searchsorted(self._written_tracks, tracks), bars] = number
        self._cancel = Event()
        self._clear()

    def _clear(self) -> None:
        #: Whether :meth:`cancel` ended the last run.
        self.cancelled = False
        #: Bars of each candidate that were written, as (track, bar).
        self.generated_bars: list[set[tuple[int, int]]] = []
        #: Attempts that each step of each candidate took, by (step, candidate).
        self.attempts: dict[tuple[int, int], int] = {}
        #: Context tracks left out in the last run in addition to the planned ones, by (step, candidate).
        self._dropped: dict[tuple[int, int], tuple[int, ...]] = {}
        #: Tokens of the last run: chosen, generated (chosen or forced by a choice), read by the model (with the
        #: prompts); and the seconds that it took.
        self.tokens_chosen = 0
        self.tokens_written = 0
        self.tokens_read = 0
        self.seconds = 0.0
        #: Tokens generated for each candidate.
        self.tokens_of: list[int] = []
        #: Of these seconds: those in which prompts were made, the model read tokens, and documents were decoded.
        self.encode_seconds = 0.0
        self.model_seconds = 0.0
        self.decode_seconds = 0.0
        #: Tokens of the longest prompt of the last step, and of the longest document of the run.
        self.context_tokens = 0
        self.longest_document = 0

    def plan_summary(self) -> list[dict[str, Any]]:
        """The plan as plain values, an item per step: window, mode, bars to write by track, tracks left out."""
        return [
            {
                "start_bar": planned.step.start_bar,
                "end_bar": planned.step.end_bar,
                "autoregressive": planned.step.autoregressive,
                "bars": {
                    track: [bar for of, bar in planned.step.cells if of == track] for track in planned.step.tracks
                },
                "dropped_context": list(planned.dropped),
            }
            for planned in self.plan
        ]

    @property
    def dropped_context(self) -> list[Dropped]:
        """Context tracks left out for lack of room: the planned ones and those that the last run also left out."""
        return [
            Dropped(step=number, candidate=candidate, tracks=tracks)
            for number, planned in enumerate(self.plan)
            for candidate in range(self.request.config.num_candidates)
            if (tracks := (*planned.dropped, *self._dropped.get((number, candidate), ())))
        ]

    def left_out(self, step: int, candidate: int) -> frozenset[int]:
        """The tracks that ``step`` of ``candidate`` left out in the last run; before a run: the planned ones."""
        return frozenset((*self.plan[step].dropped, *self._dropped.get((step, candidate), ())))

    def cancel(self) -> None:
        """End the run in progress, from any thread. The run returns the bars that are complete.

        Before a run it ends the next one, which then returns the score unchanged. So a caller need not know whether
        the run has started.
        """
        self._cancel.set()

    def run(
        self,
        progress: Callable[[Progress], None] | None = None,
        *,
        notes: Callable[[FreshNotes], None] | None = None,
        cancel_event: Event | None = None,
    ) -> Score:
        """The score with the requested bars generated. Everything else is unchanged, note for note.

        ``notes`` is called with new notes at most every 0.25 s and at the end of a step. With ``plan_only`` the score
        is unchanged. After :meth:`cancel`, or when ``cancel_event`` is set, only the complete bars are replaced, see
        ``generated_bars``.
        """
        return self._generate(1, progress, notes, cancel_event)[0]

    def run_variations(
        self, progress: Callable[[Progress], None] | None = None, *, cancel_event: Event | None = None
    ) -> list[Score]:
        """``num_candidates`` scores for the request.

        Number ``n`` is what :meth:`run` gives with ``seed + n``, which is :meth:`seed_of`, unless the seed also draws
        the bars or their order (``infill_probability``, ``shuffle``): all candidates share those of ``seed``.
        """
        return self._generate(self.request.config.num_candidates, progress, None, cancel_event)

    @property
    def num_targets(self) -> int:
        """Bars that each candidate has to write, counted per track."""
        return sum(len(planned.step.cells) for planned in self.plan)

    @property
    def last_attempts(self) -> int:
        """Attempts that the last step of the last run took, the most of any candidate; 1 before a run."""
        last = max((step for step, _ in self.attempts), default=0)
        return max((attempts for (step, _), attempts in self.attempts.items() if step == last), default=1)

    def seed_of(self, candidate: int) -> int:
        """The seed that gives this candidate alone."""
        return (self.seed + candidate) % _SEEDS

    def _generate(
        self,
        candidates: int,
        progress: Callable[[Progress], None] | None,
        notes: Callable[[FreshNotes], None] | None,
        cancel_event: Event | None,
    ) -> list[Score]:
        cancels = [self._cancel, self._ended_in_planning, *([] if cancel_event is None else [cancel_event])]
        try:
            with faults_named(self._engine.parts, lambda: "in generation"):
                return self._write(candidates, progress, notes, cancels)
        finally:
            self._cancel.clear()

    def _write(
        self,
        candidates: int,
        progress: Callable[[Progress], None] | None,
        notes: Callable[[FreshNotes], None] | None,
        cancels: Sequence[Event],
    ) -> list[Score]:
        self._clear()
        self.generated_bars = [set() for _ in range(candidates)]
        self.tokens_of = [0] * candidates
        if self.request.config.plan_only:
            return [self.score] * candidates
        bars = candidates * self.num_targets
        run = _Run(len(self.plan), bars, progress, cancels, notes)
        working = [self._start] * candidates
        for wave in planner.waves([planned.step for planned in self.plan]):
            jobs = [(candidate, number) for number in wave for candidate in range(candidates)]
            for first in range(0, len(jobs), _TOGETHER):
                self._carry_out(jobs[first : first + _TOGETHER], working, run)
            if run.is_cancelled():
                self.cancelled = True
                break
            run.steps_done += len(wave)
        self.seconds = run.tell()
        return [self._result(score, written) for score, written in zip(working, self.generated_bars, strict=True)]

    def _carry_out(self, jobs: Sequence[tuple[int, int]], working: list[Score], run: _Run) -> None:
        """Generate steps of candidates, repeat those that fail the checks, and put them into the candidates' scores."""
        before = list(working)
        waiting = list(jobs)
        for attempt in range(self.request.config.max_attempts):
            if not waiting or run.is_cancelled():
                return
            last = attempt + 1 == self.request.config.max_attempts
            again = []
            for (candidate, number), notes, bars in self._attempt(waiting, before, attempt, run):
                self.attempts[number, candidate] = attempt + 1
                step = self.plan[number].step
                whole = len(bars) == len(step.cells)
                if whole and not last and not self._passes(candidate, step, notes):
                    again.append((candidate, number))
                    continue
                self.generated_bars[candidate].update(bars)
                cells = self._cells(bars)
                working[candidate] = editing.replace_cells(working[candidate], cells, notes)
                run.bars_done += len(bars)
            waiting = again

    def _attempt(
        self, jobs: Sequence[tuple[int, int]], scores: Sequence[Score], attempt: int, run: _Run
    ) -> list[tuple[tuple[int, int], NoteTable, list[tuple[int, int]]]]:
        """Generate the documents of ``jobs``; returns for each its notes and the bars that are complete."""
        started = time.perf_counter()
        asked = self._ask(jobs, scores, attempt)
        self.encode_seconds += time.perf_counter() - started
        reporter = None
        if run.notes is not None:
            rows = [(*pair, job) for pair, job in zip(jobs, asked.jobs, strict=True)]
            reporter = _NotesReporter(self._notes_of, rows, attempt, run.notes)
        generated = generate(
            self._engine.reader(),
            self.encoder,
            asked.prompts,
            asked.request,
            sampler=sampler_of(self.request.config),
            temperatures=asked.temperatures,
            keys=asked.keys,
            go_on=run.go_on,
            watch=reporter,
        )
        if reporter is not None:
            reporter.report(generated.documents, generated.bars_written)
        self.tokens_chosen += generated.chosen
        for (candidate, _), count in zip(jobs, generated.generated.tolist(), strict=True):
            self.tokens_written += count
            self.tokens_of[candidate] += count
        self.tokens_read += generated.read
        self.model_seconds += generated.model_seconds
        self.longest_document = max(self.longest_document, *map(len, generated.documents))
        started = time.perf_counter()
        decoded = [
            (pair, *self._decoded(job, generated, index))
            for index, (pair, job) in enumerate(zip(jobs, asked.jobs, strict=True))
        ]
        self.decode_seconds += time.perf_counter() - started
        return decoded

    def _ask(self, jobs: Sequence[tuple[int, int]], scores: Sequence[Score], attempt: int) -> _Asked:
        """What :func:`midigpt_core.inference.generation.generate` takes to generate the documents of ``jobs``."""
        config = self.request.config
        fitted = []
        for candidate, number in jobs:
            job = self._job(self.plan[number].step, candidate, self.plan[number].tracks, self._pending(number))
            job, more = self._fitter.fit_running(scores, job)
            # Only the last attempt counts.
            self._dropped[number, candidate] = more
            fitted.append(job)
        prompts = self._prompter.prompts(scores, fitted)
        seeds = [self.seed_of(candidate) for candidate, _ in jobs]
        tables = self._note_tables
        self.context_tokens = int(np.diff(prompts.batch.offsets).max(initial=0))
        count = len(jobs)
        return _Asked(
            jobs=fitted,
            prompts=prompts.batch,
            request=GrammarRequest(
                cells=prompts.cells,
                choose_attributes=np.array([job.step.autoregressive for job in fitted]),
                max_tokens=np.full(count, self._engine.max_tokens, np.int32),
                max_notes=np.full(count, config.density_hard_limit, np.int32),
                max_polyphony=np.full(count, config.polyphony_hard_limit, np.int32),
                bar_controls=None if tables is None else tables.of_jobs(fitted, seeds, prompts.cells.shape),
            ),
            temperatures=np.full(count, temperature_of(config, attempt)),
            keys=np.concatenate([self._key(number, candidate, attempt) for candidate, number in jobs]),
        )

    def _decoded(self, job: Job, generated: Generated, index: int) -> tuple[NoteTable, list[tuple[int, int]]]:
        """The notes of the complete bars of document ``index``, at the score's resolution, and these bars."""
        bars = int(generated.bars_written[index])
        return self._notes_of(job, generated.documents[index], bars), _in_order(job)[:bars]

    def _notes_of(self, job: Job, document: Int32Array, bars: int) -> NoteTable:
        """The notes of the first ``bars`` bars that a document generates, at the score's resolution."""
        decoded = self.encoder.decode(document)
        table = editing.note_table(decoded).at_resolution(decoded.resolution, self._start.resolution)
        if len(table) and (table.track.max() >= len(job.tracks) or table.bar.max() >= job.step.num_bars):
            error = ValueError(f"it returned notes outside the {len(job.tracks)} tracks and {job.step.num_bars} bars")
            raise ComponentError(self._engine.component, "decode, in generation", error)
        tracks = np.asarray(job.tracks, np.int64)[table.track]
        table = attrs.evolve(table, track=tracks, bar=table.bar + job.step.start_bar)
        return table.where(self._cells(_in_order(job)[:bars])[table.track, table.bar])

    def _passes(self, candidate: int, step: planner.Step, notes: NoteTable) -> bool:
        """Whether the notes of a step are neither silence, nor copies, nor (nearly) those that were there before."""
        config = self.request.config
        if config.silence_check and not len(notes):
            return False
        if config.novel and self.copied(editing.replace_cells(self._start, self._cells(step.cells), notes), step.cells):
            return False
        if not config.novelty_check or not len(notes):
            return True
        tables = self._note_tables
        if tables is not None and not tables.changes(step.cells, self.seed_of(candidate)):
            return True
        return same_share(self.score, self._cells(step.cells), notes) < config.novelty_threshold

    def copied(self, score: Score, cells: Sequence[tuple[int, int]]) -> list[tuple[int, int]] | None:
        """Those of ``cells`` (track, bar) whose bars in ``score`` have at least four notes and are ``known_bars`` of
        the engine, in their order; None: no bars are known."""
        known = self._engine.known_bars
        if known is None:
            return None
        found, fingerprints = bar_fingerprints(score.columns)
        copies = known.contains(fingerprints) & (found.notes >= LEAST_NOTES)
        of_score = {*zip(found.track[copies].tolist(), found.bar[copies].tolist(), strict=True)}
        return [cell for cell in cells if cell in of_score]

    def _result(self, working: Score, written: set[tuple[int, int]]) -> Score:
        """The original score with the ``written`` bars of a working score."""
        table = editing.note_table(working)
        cells = self._cells(sorted(written))
        signed = _with_signatures(editing.with_bars(self.score, 0), self.request, self.encoder, written)
        return editing.replace_cells(signed, cells[:, : self._num_bars], table.where(cells[table.track, table.bar]))

    def _cells(self, cells: Sequence[tuple[int, int]]) -> BoolArray:
        out = np.zeros(self._never_seen.shape, np.bool_)
        if len(cells):
            out[tuple(np.array(cells).T)] = True
        return out

    def _pending(self, number: int) -> BoolArray:
        """Cells that later steps write."""
        pending = np.zeros(self._never_seen.shape, np.bool_)
        pending[self._written_tracks] = self._writer > number
        return pending

    def _job(self, step: planner.Step, score: int, tracks: Sequence[int] | None, pending: BoolArray) -> Job:
        if tracks is None:
            seen = [track for track in range(len(self._start.tracks)) if track not in self._ignored]
            # The track that is continued comes last, after its context.
            tracks = sorted(seen, key=lambda track: (step.autoregressive and track in step.tracks, track))
        return Job(step=step, score=score, tracks=tuple(tracks), masked=self._never_seen | pending)

    def _key(self, step: int, candidate: int, attempt: int) -> UInt64Array:
        return keys.derive(keys.derive(self.seed_of(candidate), Stage.DRAW, step), Stage.DRAW, attempt)


@frozen(eq=False, kw_only=True)
class _Asked:
    """N documents to generate."""

    jobs: list[Job]
    prompts: TokenBatch
    request: GrammarRequest
    #: float64[N], uint64[N]
    temperatures: Float64Array
    keys: UInt64Array


def run_together(sessions: Sequence[SamplingSession], go_on: Callable[[], bool] = lambda: True) -> list[Score]:
    """The scores that each session's ``run()`` returns, note for note; their documents are generated in one batch.

    For sessions of one engine that make one attempt with the same sampler. ``go_on`` is called after every choice of
    tokens; when it returns False, the sessions are cancelled. Raises ValueError for other sessions.
    """
    if len({(session._engine, _sampling(session.request.config)) for session in sessions}) > 1:
        raise ValueError("sessions that run together have one engine, one attempt and the same sampler")
    with faults_named(sessions[0]._engine.parts if sessions else (), lambda: "in generation"):
        return _run_together(sessions, go_on)


def _run_together(sessions: Sequence[SamplingSession], go_on: Callable[[], bool]) -> list[Score]:
    for session in sessions:
        session._clear()
        session.generated_bars = [set()]
    working = [session._start for session in sessions]
    for batch in _batches([planner.waves([planned.step for planned in session.plan]) for session in sessions]):
        asked = [sessions[index]._ask([(0, number)], [working[index]], 0) for index, number in batch]
        first = sessions[0]
        prompts, request = joined([each.prompts for each in asked], [each.request for each in asked])
        generated = generate(
            first._engine.reader(),
            first.encoder,
            prompts,
            request,
            sampler=sampler_of(first.request.config),
            temperatures=np.concatenate([each.temperatures for each in asked]),
            keys=np.concatenate([each.keys for each in asked]),
            go_on=lambda _: go_on(),
        )
        for row, ((index, _), each) in enumerate(zip(batch, asked, strict=True)):
            notes, bars = sessions[index]._decoded(each.jobs[0], generated, row)
            sessions[index].generated_bars[0].update(bars)
            working[index] = editing.replace_cells(working[index], sessions[index]._cells(bars), notes)
        if not go_on():
            for session in sessions:
                session.cancelled = True
            break
    return [session._result(score, session.generated_bars[0]) for session, score in zip(sessions, working, strict=True)]


def _batches(waves: Sequence[Sequence[Sequence[int]]]) -> Iterator[Sequence[tuple[int, int]]]:
    """Steps that can be generated at once, as (session, step), for the waves of each session."""
    for turn in range(max(map(len, waves), default=0)):
        steps = [(index, step) for index, own in enumerate(waves) if turn < len(own) for step in own[turn]]
        for first in range(0, len(steps), _TOGETHER):
            yield steps[first : first + _TOGETHER]


def _sampling(config: InferenceConfig) -> tuple[Any, ...]:
    if config.max_attempts != 1 or config.plan_only:
        raise ValueError("sessions that run together make one attempt")
    return config.top_k, config.top_p, config.mask_k, config.mask_p


def temperature_of(config: InferenceConfig, attempt: int) -> float:
    """The temperature of an attempt, at most the highest that a request may set."""
    with np.errstate(over="ignore"):
        factor = np.float64(config.temperature_escalation) ** attempt
    return float(min(config.temperature * factor, _HIGHEST_TEMPERATURE)) if config.temperature else 0.0


class _Run:
    """The counts of a run in progress, and the listener that they are reported to."""

    def __init__(
        self,
        steps: int,
        bars: int,
        listener: Callable[[Progress], None] | None,
        cancels: Sequence[Event],
        notes: Callable[[FreshNotes], None] | None,
    ) -> None:
        self._steps = steps
        self._bars = bars
        self._listener = listener
        self._cancels = cancels
        #: The listener for notes, None without one.
        self.notes = notes
        self._started = time.perf_counter()
        self._told = 0
        self.steps_done = 0
        self.bars_done = 0
        self.tokens = 0

    def go_on(self, chosen: int) -> bool:
        self.tokens += chosen
        if self._listener is not None and self.tokens - self._told >= _TELL_EVERY:
            self.tell()
        return not self.is_cancelled()

    def is_cancelled(self) -> bool:
        return any(event.is_set() for event in self._cancels)

    def tell(self) -> float:
        """Report to the listener, if there is one; returns the seconds since the start."""
        seconds = time.perf_counter() - self._started
        self._told = self.tokens
        if self._listener is not None:
            self._listener(
                Progress(
                    steps_done=self.steps_done,
                    steps=self._steps,
                    bars_done=self.bars_done,
                    bars=self._bars,
                    tokens=self.tokens,
                    seconds=seconds,
                )
            )
        return seconds


class _NotesReporter:
    """Reports the notes of documents while they are generated."""

    def __init__(
        self,
        notes_of: Callable[[Job, Int32Array, int], NoteTable],
        rows: Sequence[tuple[int, int, Job]],
        attempt: int,
        listener: Callable[[FreshNotes], None],
    ) -> None:
        """``rows``: candidate, step and job of each document."""
        self._notes_of = notes_of
        self._rows = rows
        self._attempt = attempt
        self._listener = listener
        self._reported = [0] * len(rows)
        self._next = time.perf_counter() + _LOOK_EVERY_S

    def __call__(self, grammar: Grammar) -> None:
        if time.perf_counter() >= self._next:
            # The bar in progress too: its notes come in the order of time.
            self.report([grammar.document(row) for row in range(len(self._rows))], grammar.bars_written() + 1)

    def report(self, documents: Sequence[Int32Array], bars: Int32Array) -> None:
        """Report the notes in the first ``bars`` int32[N] generated bars that were not reported before."""
        wait = _LOOK_EVERY_S
        for row, (candidate, step, job) in enumerate(self._rows):
            table = self._notes_of(job, documents[row], int(bars[row]))
            # A document grows only at its end, and its bars are decoded in order.
            fresh = table.where(np.arange(len(table)) >= self._reported[row])
            self._reported[row] = max(self._reported[row], len(table))
            if len(fresh):
                wait = _NOTES_EVERY_S
                self._listener(FreshNotes(step=step, candidate=candidate, attempt=self._attempt + 1, notes=fresh))
        self._next = time.perf_counter() + wait


def _in_order(job: Job) -> list[tuple[int, int]]:
    """The cells that a document generates, in its order."""
    return [(track, bar) for track in job.tracks for of, bar in job.step.cells if of == track]


def same_share(original: Score, cells: BoolArray, notes: NoteTable) -> float:
    """The share of ``notes`` that ``original`` has too, in the same cell at the same onset and pitch."""
    before = editing.note_table(original)
    inside = before.bar < cells.shape[1]
    before = before.where(inside)
    before = before.where(cells[before.track, before.bar])
    old = np.stack([before.track, before.bar, before.onset, before.pitch], axis=1)
    new = np.stack([notes.track, notes.bar, notes.onset, notes.pitch], axis=1)
    known = {row.tobytes() for row in np.ascontiguousarray(old, np.int64)}
    same = sum(row.tobytes() in known for row in np.ascontiguousarray(new, np.int64))
    return same / max(len(new), 1)


def _prepared(score: Score, request: GenerationRequest, encoder: Encoder, window: int) -> Score:
    """The score to work on: tracks of one length, at least a window long, in the requested time signatures."""
    targets = {(prompt.id, bar) for prompt in request.tracks for bar in prompt.bars}
    return _with_signatures(editing.with_bars(score, window), request, encoder, targets)


def _with_signatures(
    score: Score, request: GenerationRequest, encoder: Encoder, written: set[tuple[int, int]]
) -> Score:
    bars: dict[tuple[int, int], list[int]] = {}
    for prompt in request.tracks:
        for bar, signature in signatures_of(prompt, encoder):
            if (prompt.id, bar) in written:
                bars.setdefault(signature, []).append(bar)
    for signature, of_signature in bars.items():
        score = editing.with_signature(score, of_signature, signature)
    return score


def _never_seen(score: Score, request: GenerationRequest, num_bars: int) -> BoolArray:
    """Cells that no step sees: cells in ``mask_bars``, and bars that the piece does not have."""
    masked = np.zeros((len(score.tracks), editing.num_bars(score)), np.bool_)
    masked[:, num_bars:] = True
    for prompt in request.tracks:
        masked[prompt.id, list(prompt.mask_bars)] = True
    return masked
