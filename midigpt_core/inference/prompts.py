"""Makes the prompt of each step: an encoder's document in which the bars to write are empty."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs import frozen

from midigpt_core.errors import EncodingError
from midigpt_core.records import MaskedAs, TokenStatus
from midigpt_core.score import editing
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.score.score import Track
from midigpt_core.score.windows import plain_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.inference.planner import Step
    from midigpt_core.inference.request import GenerationRequest, TrackPrompt
    from midigpt_core.records import BoolArray, Corpus, Int16Array, Int64Array, TokenBatch, WindowBatch
    from midigpt_core.score import Score


@frozen(eq=False, kw_only=True)
class Job:
    """One step on one score, and the tracks that it sees."""

    step: Step
    #: Index of its score among the scores that prompts are made from.
    score: int
    #: In the order in which they are written.
    tracks: tuple[int, ...]
    #: bool[tracks of the score, bars], cells that the model must not see.
    masked: BoolArray


@frozen(eq=False, kw_only=True)
class Prompts:
    """N documents in which the bars to write are empty."""

    batch: TokenBatch
    #: bool[N, T, B], the bars to write by track and bar of the document.
    cells: BoolArray


class Prompter:
    """Makes the prompts of one request."""

    def __init__(self, encoder: Encoder, request: GenerationRequest) -> None:
        self._encoder = encoder
        self._prompts: dict[int, TrackPrompt] = {prompt.id: prompt for prompt in request.tracks}
        self._masked_as = masked_as(request.config.mask_mode, encoder)
        controls = request.controls
        self._genre = encoder.genre_id(controls["genre"]) if "genre" in controls else -1
        self._velocity = int(controls.get("velocity", -1))
        self._microtiming = int(controls.get("microtiming", -1))
        self._emptied = _Emptied((), (), None)

    def prompts(self, scores: Sequence[Score], jobs: Sequence[Job]) -> Prompts:
        """The documents of ``jobs``. Raises EncodingError naming the step that the encoder cannot write."""
        scores, jobs = _of_use(scores, jobs)
        windows, cells = self._windows(jobs)
        values = self._attributes(scores, jobs, windows, cells)
        windows = attrs.evolve(windows, attribute_values=values, compute_attributes=False)
        batch = self._encoder.encode_batch(self._blank(scores, jobs), windows, np.zeros(len(jobs), np.int32))
        for job, status in zip(jobs, batch.status, strict=True):
            if status != TokenStatus.OK:
                name = TokenStatus(int(status)).name.lower().replace("_", " ")
                raise EncodingError(
                    f"bars {job.step.start_bar} to {job.step.end_bar - 1}: {name}: the encoder has no tokens for them. "
                    "Ask for other bars, or ignore the tracks in the way."
                )
        return Prompts(batch=batch, cells=cells)

    def _blank(self, scores: Sequence[Score], jobs: Sequence[Job]) -> Corpus:
        """The scores without the notes of the cells to write.

        The last result is kept: fitting a step needs the same scores once for each track that it leaves out.
        """
        cells = tuple(dict.fromkeys((job.score, job.step.cells) for job in jobs))
        if not self._emptied.are(scores, cells):
            blank = in_memory_corpus([_without(score, index, cells) for index, score in enumerate(scores)])
            self._emptied = _Emptied(tuple(scores), cells, blank)
        assert self._emptied.corpus is not None
        return self._emptied.corpus

    def _windows(self, jobs: Sequence[Job]) -> tuple[WindowBatch, BoolArray]:
        count = len(jobs)
        shape = (count, max(len(job.tracks) for job in jobs), max(job.step.num_bars for job in jobs))
        tracks = np.full(shape[:2], -1, np.int32)
        cells, masked = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
        infill = np.zeros(shape, np.bool_)
        for row, job in enumerate(jobs):
            tracks[row, : len(job.tracks)] = job.tracks
            bars = slice(job.step.start_bar, job.step.end_bar)
            masked[row, : len(job.tracks), : job.step.num_bars] = job.masked[list(job.tracks), bars]
            for track, bar in job.step.cells:
                if track in job.tracks:
                    cells[row, job.tracks.index(track), bar - job.step.start_bar] = True
            if not job.step.autoregressive:
                infill[row] = cells[row]
        windows = plain_windows(
            piece=[job.score for job in jobs],
            start_bar=[job.step.start_bar for job in jobs],
            num_bars=[job.step.num_bars for job in jobs],
            tracks=tracks,
            infill=infill,
        )
        asked = attrs.evolve(
            windows,
            masked=masked & ~cells,
            window_bars=windows.num_bars,
            genre=np.full(count, self._genre, np.int32),
            use_velocity=np.full(count, self._velocity, np.int8),
            use_microtiming=np.full(count, self._microtiming, np.int8),
            masked_as=np.full(count, self._masked_as, np.uint8),
        )
        return asked, cells

    def reference_windows(self, pairs: Sequence[tuple[Step, int]]) -> WindowBatch:
        """The windows of steps with one track each, as it is."""
        count, bars = len(pairs), max(step.num_bars for step, _ in pairs)
        windows = plain_windows(
            piece=np.zeros(count, np.int64),
            start_bar=[step.start_bar for step, _ in pairs],
            num_bars=[step.num_bars for step, _ in pairs],
            tracks=np.array([[track] for _, track in pairs], np.int32),
            infill=np.zeros((count, 1, bars), np.bool_),
        )
        return attrs.evolve(
            windows,
            window_bars=windows.num_bars,
            use_velocity=np.full(count, self._velocity, np.int8),
            use_microtiming=np.full(count, self._microtiming, np.int8),
        )

    def _attributes(
        self, scores: Sequence[Score], jobs: Sequence[Job], windows: WindowBatch, cells: BoolArray
    ) -> Int16Array | None:
        """Attribute levels of the prompts: the requested ones, else those of the score as it is now.

        An empty bar to write and a track without notes get no level, because theirs would mean "write nothing". In
        bars that are written autoregressively the model chooses the levels.
        """
        values = self._encoder.compute_attributes(in_memory_corpus(scores), windows)
        if values is None:
            return None
        names = [attribute.name for attribute in self._encoder.attributes]
        for row, job in enumerate(jobs):
            for slot, track in enumerate(job.tracks):
                written = np.flatnonzero(cells[row, slot])
                if not len(written):
                    continue
                counts = _note_counts(scores[job.score], track, job.step)
                if job.step.autoregressive:
                    counts[written] = 0
                    values[row, slot, 1 + written] = -1
                values[row, slot, 1 + written[counts[written] == 0]] = -1
                if not counts.sum():
                    values[row, slot, 0] = -1
                self._ask(values[row, slot], names, track, job.step)
        return values

    def _ask(self, values: Int16Array, names: Sequence[str], track: int, step: Step) -> None:
        prompt = self._prompts.get(track)
        if prompt is None:
            return
        for name, level in prompt.attributes.items():
            values[0, names.index(name)] = level
        for bar, levels in prompt.bar_attributes.items():
            if step.start_bar <= bar < step.end_bar:
                for name, level in levels.items():
                    known = name if name in names else f"bar_{name}"
                    values[1 + bar - step.start_bar, names.index(known)] = level


def masked_as(mask_mode: str, encoder: Encoder) -> MaskedAs:
    """How a masked bar is written in a mask mode."""
    if mask_mode == "auto":
        mask_mode = "token" if "mask_bar" in encoder.provides else "attention"
    if mask_mode.startswith("attention"):
        return MaskedAs.SPAN
    return MaskedAs.MASK_TOKEN if mask_mode == "token" else MaskedAs.REMOVED


def _of_use(scores: Sequence[Score], jobs: Sequence[Job]) -> tuple[list[Score], list[Job]]:
    """The scores that ``jobs`` refer to, and the jobs with indices into these. So the cost of a job does not depend on
    the number of scores."""
    places = {score: place for place, score in enumerate(sorted({job.score for job in jobs}))}
    return [scores[score] for score in places], [attrs.evolve(job, score=places[job.score]) for job in jobs]


@frozen(eq=False)
class _Emptied:
    """Scores without the notes of some cells, as (index of the score, its cells)."""

    scores: tuple[Score, ...]
    cells: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
    corpus: Corpus | None

    def are(self, scores: Sequence[Score], cells: Sequence[tuple[int, tuple[tuple[int, int], ...]]]) -> bool:
        same = len(scores) == len(self.scores) and all(map(operator.is_, scores, self.scores))
        return same and cells == self.cells and self.corpus is not None


def _without(score: Score, index: int, emptied: Sequence[tuple[int, tuple[tuple[int, int], ...]]]) -> Score:
    """The score without the notes of the cells to write."""
    cells = np.zeros((len(score.columns.track_program), editing.num_bars(score)), np.bool_)
    for of_score, to_write in emptied:
        if of_score == index:
            cells[tuple(np.array(to_write).T)] = True
    return editing.replace_cells(score, cells)


def _note_counts(score: Score, track: int, step: Step) -> Int64Array:
    """Notes of ``track`` by bar of the step's window: int64[num_bars]."""
    columns, cells = score.columns, Track(score, track).cell_run
    bars = columns.cell_bar[cells]
    first, end = np.searchsorted(bars, (step.start_bar, step.end_bar)) + cells.start
    counts = np.zeros(step.num_bars, np.int64)
    if first < end:
        ends = columns.cell_note_end
        before = ends[first - 1] if first else 0
        counts[columns.cell_bar[first:end] - step.start_bar] = np.diff(ends[first:end], prepend=before)
    return counts
