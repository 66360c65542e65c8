"""Makes steps fit the model's longest sequence and most tracks: leaves out context, then narrows windows."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs import frozen

from midigpt_core.errors import EncodingError
from midigpt_core.inference import planner
from midigpt_core.inference.context import WindowContext, rank_context
from midigpt_core.score import editing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midigpt_core.inference.planner import Step
    from midigpt_core.inference.prompts import Job, Prompter
    from midigpt_core.inference.request import InferenceConfig
    from midigpt_core.inference.trained import TrainedWindows
    from midigpt_core.records import BoolArray, UInt8Array
    from midigpt_core.score import Score

#: The fewest tokens that a bar is assumed to take.
_LEAST_PER_BAR = 16
#: When a cell is written, as seen from a step.
_NOW, _BEFORE, _AFTER = range(3)


@frozen(kw_only=True)
class Planned:
    """A step with the tracks that it sees, in the order in which they are written, and those left out."""

    step: Step
    tracks: tuple[int, ...]
    dropped: tuple[int, ...]


class Fitter:
    """Fits the steps of one request to the longest sequence and the most tracks that the model supports."""

    def __init__(
        self,
        prompter: Prompter,
        config: InferenceConfig,
        *,
        max_tokens: int,
        trained: TrainedWindows,
        tokens_due: Callable[[Sequence[tuple[int, int]]], int] = lambda _: 0,
    ) -> None:
        """``max_tokens``: the longest sequence that the model reads; ``trained``: the windows it was trained on;
        ``tokens_due``: the tokens that controls demand in cells, at most."""
        self._tokens_due = tokens_due
        self._limit = max_tokens
        self._sizes = trained.sizes
        self._max_tracks = trained.max_tracks
        self._prompter = prompter
        self._config = config

    def fit_all(
        self,
        score: Score,
        steps: Sequence[Step],
        job_of: Callable[[Step, int, None, BoolArray], Job],
        num_bars: int,
        stop: Callable[[], bool],
    ) -> list[Planned]:
        """The plan on ``score`` as it is: with context left out or windows narrowed where a step does not fit.

        It ends early, after one step at least, once ``stop`` is true. Raises EncodingError for a step that does not
        fit in the narrowest window without context.
        """
        nothing = np.zeros((len(score.tracks), 1), np.bool_)
        order = _Order(steps, len(score.tracks), editing.num_bars(score))
        planned: list[Planned] = []
        waiting = deque(steps)
        while waiting and not (planned and stop()):
            step = waiting.popleft()
            order.mark(step, _NOW)
            job, dropped, fits = self._fit([score], job_of(step, 0, None, nothing), order.around(step))
            narrower = self._narrower(step, num_bars)
            if fits or not narrower:
                if not fits and not self._has_room([score], job):
                    raise EncodingError(
                        f"bars {step.start_bar} to {step.end_bar - 1} take more than the model's {self._limit} tokens, "
                        "whatever is left out. Ask for fewer bars or tracks at once (bars_per_step, tracks_per_step)."
                    )
                planned.append(Planned(step=step, tracks=job.tracks, dropped=dropped))
                order.mark(step, _BEFORE)
            else:
                waiting.extendleft(reversed(narrower))
                order.mark(step, _AFTER)
        return planned

    def fit_running(self, scores: Sequence[Score], job: Job) -> tuple[Job, tuple[int, ...]]:
        """The job as it fits now, and the tracks left out in addition to the planned ones."""
        written = np.zeros((len(job.masked), job.step.num_bars), np.uint8)
        fitted, dropped, _ = self._fit(scores, job, written)
        return fitted, dropped

    def _fit(self, scores: Sequence[Score], job: Job, when: UInt8Array) -> tuple[Job, tuple[int, ...], bool]:
        """The job with as much context as fits, the tracks left out, and whether it fits.

        ``when`` uint8[tracks, bars of the window]: cells that steps before or after this one write.
        """
        # So many tracks must be left out whatever their length, if that many may be.
        surplus = len(job.tracks) - self._max_tracks if self._max_tracks is not None else 0
        if surplus <= 0 and self._fits(scores, job):
            return job, (), True
        dropped: list[int] = []
        fitted = job
        going = self._droppable(scores, job, when)
        for track in going:
            dropped.append(track)
            if len(dropped) < min(surplus, len(going)):
                continue
            fitted = _without(job, dropped)
            if self._fits(scores, fitted):
                dropped = self._taken_back(scores, job, dropped, surplus)
                return _without(job, dropped), tuple(dropped), True
        return fitted, tuple(dropped), not dropped and surplus > 0 and self._fits(scores, job)

    def _taken_back(self, scores: Sequence[Score], job: Job, dropped: list[int], surplus: int) -> list[int]:
        """The part of ``dropped`` that must stay out: once a long track is out, one dropped before it may fit again."""
        for track in reversed(dropped[:-1]):
            if len(dropped) <= surplus:
                break
            if track in self._config.context_drop:
                continue
            fewer = [other for other in dropped if other != track]
            if self._fits(scores, _without(job, fewer)):
                dropped = fewer
        return dropped

    def _fits(self, scores: Sequence[Score], job: Job) -> bool:
        length = self._length(scores, job)
        return length + self._to_write(job, length) <= self._limit

    def _droppable(self, scores: Sequence[Score], job: Job, when: UInt8Array) -> list[int]:
        """Context tracks in the order in which they are left out: the listed ones, then the least important."""
        kept = {*self._config.context_keep} - {*job.step.tracks}
        may_go = [track for track in job.tracks if track not in kept and track not in job.step.tracks]
        listed = [track for track in self._config.context_drop if track in may_go]
        if self._config.context == "all":
            return []
        if self._config.context == "listed":
            return listed
        masked = job.masked[:, job.step.start_bar : job.step.end_bar] | (when == _AFTER)
        context = WindowContext.of(scores[job.score], job.step, masked, when == _BEFORE)
        others = [track for track in may_go if track not in listed]
        return [*listed, *reversed(rank_context(context, others, [track for track in job.tracks if track in kept]))]

    def _length(self, scores: Sequence[Score], job: Job) -> int:
        return len(self._prompter.prompts(scores, [job]).batch.tokens)

    def _to_write(self, job: Job, length: int) -> int:
        """An estimate of the tokens that the step will write, from the tokens of the bars that it sees."""
        bars = slice(job.step.start_bar, job.step.end_bar)
        seen = int(np.count_nonzero(~job.masked[list(job.tracks), bars])) - len(job.step.cells)
        per_bar = max(length / max(seen, 1), _LEAST_PER_BAR) if seen > 0 else _LEAST_PER_BAR
        estimate = math.ceil(len(job.step.cells) * per_bar * self._config.budget_margin)
        return max(estimate, self._least(job))

    def _least(self, job: Job) -> int:
        return max(_LEAST_PER_BAR * len(job.step.cells), self._tokens_due(job.step.cells))

    def _has_room(self, scores: Sequence[Score], job: Job) -> bool:
        return self._length(scores, job) + self._least(job) <= self._limit

    def _narrower(self, step: Step, num_bars: int) -> list[Step]:
        """The step's bars in the next narrower window of the encoder; empty if there is none."""
        sizes = [size for size in self._sizes if size < step.num_bars]
        if not self._sizes and step.num_bars > 1:
            sizes = [step.num_bars // 2]
        return planner.narrowed(step, num_bars, max(sizes), self._config) if sizes else []


class _Order:
    """Which cells are written before and after the current step. Only tracks that are written take memory."""

    def __init__(self, steps: Sequence[Step], num_tracks: int, num_bars: int) -> None:
        self._num_tracks = num_tracks
        self._tracks = np.array(sorted({track for step in steps for track in step.tracks}), np.int64)
        self._when = np.zeros((len(self._tracks), num_bars), np.uint8)
        for step in steps:
            self.mark(step, _AFTER)

    def mark(self, step: Step, when: int) -> None:
        tracks, bars = np.array(step.cells, np.int64).T
        self._when[np.searchsorted(self._tracks, tracks), bars] = when

    def around(self, step: Step) -> UInt8Array:
        """uint8[tracks, bars of the step's window]."""
        around = np.zeros((self._num_tracks, step.num_bars), np.uint8)
        around[self._tracks] = self._when[:, step.start_bar : step.end_bar]
        return around


def _without(job: Job, dropped: Sequence[int]) -> Job:
    gone = set(dropped)
    return attrs.evolve(job, tracks=tuple(track for track in job.tracks if track not in gone))
