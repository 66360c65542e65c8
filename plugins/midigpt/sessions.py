"""The engine and the session as scripts of midigpt 0.4.2 use them: with scores of :mod:`midigpt.score`.

A session that was opened on a :class:`midigpt.Score` answers with scores of that class. It has the attributes of
0.4.2's sessions: ``note_sink``, ``progress_sink``, ``cancel_event``, ``resolved_seed``, ``generated_bars`` and so on. A
session on a score in columns is the core's own. docs/generation.md lists what differs from 0.4.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from midigpt.score import Score
from midigpt_core.errors import MidigptError
from midigpt_core.inference import InferenceEngine as CoreEngine
from midigpt_core.inference import SamplingSession

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from numpy.typing import NDArray

    from midigpt_core.inference import FreshNotes, GenerationRequest, Progress
    from midigpt_core.score import Score as Columns


class GenerationCancelled(MidigptError):
    """A run that was ended by ``cancel_event`` or ``cancel()``."""

    def __init__(self, partial: Score, gen_count: int) -> None:
        super().__init__("the generation was cancelled; `partial` has the bars that are complete.")
        #: The score with the complete bars; all others are as they were.
        self.partial = partial
        #: Tokens generated.
        self.gen_count = gen_count


class ScoreSession:
    """A request on a :class:`midigpt.Score`, checked and planned. Set the sinks before the run."""

    def __init__(
        self, engine: CoreEngine, score: Score, request: GenerationRequest, cancel_event: Event | None = None
    ) -> None:
        self._score = score
        self._session = SamplingSession(engine, score.to_columns(), request, cancel_event)
        self._engine = engine
        #: Called with a list of new notes, each a dict of ``track``, ``bar``, ``pitch``, ``onset_ticks``,
        #: ``duration_ticks`` and ``velocity``, at the score's resolution. Not for several candidates.
        self.note_sink: Callable[[list[dict[str, int]]], None] | None = None
        #: Called with the progress: a dict of ``generated_tokens``, ``step_generated_tokens``, ``context_tokens``,
        #: ``max_context_tokens``, ``model_forward_s`` and ``attempt``.
        self.progress_sink: Callable[[dict[str, Any]], None] | None = None
        #: Ends the run when it is set, from any thread.
        self.cancel_event = cancel_event

    def run(self) -> Score:
        """The score with the requested bars generated. Raises :class:`GenerationCancelled`."""
        followed = _Followed(self)
        score = self._session.run(followed.progress, notes=followed.notes, cancel_event=self.cancel_event)
        return self._given_back([score])[0]

    def run_variations(self) -> list[dict[str, Any]]:
        """``num_candidates`` dicts, each with its ``score``, the ``seed`` that gives it alone, ``gen_count`` (tokens
        generated), ``error`` (None) and ``truncated`` (False). Raises :class:`GenerationCancelled`."""
        made = self._session.run_variations(_Followed(self).progress, cancel_event=self.cancel_event)
        return [
            {
                "score": score,
                "seed": self._session.seed_of(number),
                "gen_count": self._session.tokens_of[number],
                "error": None,
                "truncated": False,
            }
            for number, score in enumerate(self._given_back(made))
        ]

    def _given_back(self, scores: list[Columns]) -> list[Score]:
        made = [self._score.with_music_of(score) for score in scores]
        if self._session.cancelled:
            raise GenerationCancelled(made[0], self.gen_count)
        return made

    def cancel(self) -> None:
        """End the run in progress, or the next one, from any thread."""
        self._session.cancel()

    def plan_summary(self) -> list[dict[str, Any]]:
        """The plan, an item per step: window, mode and bars to write by track."""
        return [
            {
                "window": [step["start_bar"], step["end_bar"]],
                "autoregressive": step["autoregressive"],
                "generate": {str(track): bars for track, bars in step["bars"].items()},
            }
            for step in self._session.plan_summary()
        ]

    @property
    def resolved_seed(self) -> int:
        """The seed in use: the request's, or a fresh one."""
        return self._session.seed

    @property
    def generated_bars(self) -> dict[int, list[int]]:
        """The bars to write, by track."""
        bars: dict[int, list[int]] = {}
        for planned in self._session.plan:
            for track, bar in planned.step.cells:
                bars.setdefault(track, []).append(bar)
        return {track: sorted(bars[track]) for track in sorted(bars)}

    @property
    def dropped_context(self) -> list[int]:
        """Tracks that a step left out to fit the model."""
        return sorted({track for dropped in self._session.dropped_context for track in dropped.tracks})

    @property
    def gen_count(self) -> int:
        """Tokens generated in the last run."""
        return self._session.tokens_written

    @property
    def model_forward_time(self) -> float:
        """Seconds that the model took in the last run."""
        return self._session.model_seconds

    @property
    def encode_time(self) -> float:
        """Seconds in which prompts were made."""
        return self._session.encode_seconds

    @property
    def decode_time(self) -> float:
        """Seconds in which tokens became notes."""
        return self._session.decode_seconds

    @property
    def context_len(self) -> int:
        """Tokens of the longest prompt of the last step."""
        return self._session.context_tokens

    @property
    def attempt(self) -> int:
        """Attempts of the last step."""
        return self._session.last_attempts

    @property
    def truncated(self) -> bool:
        """Whether the last run was cancelled."""
        return self._session.cancelled


class _Followed:
    """The callbacks of a run."""

    def __init__(self, session: ScoreSession) -> None:
        self._of = session
        self._tokens = 0
        self._before_step = 0
        self._step = (-1, 0)

    def progress(self, progress: Progress) -> None:
        self._tokens = progress.tokens
        if self._of.progress_sink is not None:
            session = self._of._session
            self._of.progress_sink(
                {
                    "generated_tokens": self._tokens,
                    "step_generated_tokens": self._tokens - self._before_step,
                    "context_tokens": session.context_tokens,
                    "max_context_tokens": self._of._engine.max_tokens,
                    "model_forward_s": round(progress.seconds, 4),
                    "attempt": max(1, self._step[1]),
                }
            )

    def notes(self, fresh: FreshNotes) -> None:
        if (fresh.step, fresh.attempt) != self._step:
            self._step, self._before_step = (fresh.step, fresh.attempt), self._tokens
        if self._of.note_sink is not None:
            self._of.note_sink(_plain(fresh))


def _plain(fresh: FreshNotes) -> list[dict[str, int]]:
    table = fresh.notes
    columns: dict[str, NDArray[Any]] = {
        "track": table.track,
        "bar": table.bar,
        "pitch": table.pitch,
        "onset_ticks": table.onset,
        "duration_ticks": table.duration,
        "velocity": table.velocity,
    }
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


class InferenceEngine(CoreEngine):
    """A model and the encoder of its tokens; :meth:`session` takes scores of both kinds."""

    @overload
    def session(
        self, score: Score, request: GenerationRequest, *, cancel_event: Event | None = None
    ) -> ScoreSession: ...

    @overload
    def session(
        self, score: Columns, request: GenerationRequest, *, cancel_event: Event | None = None
    ) -> SamplingSession: ...

    def session(
        self, score: Score | Columns, request: GenerationRequest, *, cancel_event: Event | None = None
    ) -> ScoreSession | SamplingSession:
        """A session for ``request``: on a :class:`midigpt.Score` a :class:`ScoreSession`, on a score in columns the
        core's :class:`~midigpt_core.inference.SamplingSession`.

        ``cancel_event`` ends the planning, as in the core; a :class:`ScoreSession` keeps it for its run. Raises
        :class:`midigpt_core.inference.RequestValidationError` with every problem of the request.
        """
        if isinstance(score, Score):
            return ScoreSession(self, score, request, cancel_event)
        return super().session(score, request, cancel_event=cancel_event)
