"""Has a model generate bars in excerpts, many excerpts at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core.errors import ConfigError
from midigpt_core.inference.session import run_together
from midigpt_core.records import ControlAnswers, GeneratedMusic
from midigpt_core.score.columns import concatenate, in_memory_corpus
from midigpt_core.score.editing import num_bars
from midigpt_core.score.windows import plain_windows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.inference import InferenceEngine
    from midigpt_core.music.excerpts import Excerpt, Excerpts
    from midigpt_core.records import Int16Array, Int32Array
    from midigpt_core.score import Score

#: Excerpts whose bars are generated at once.
_AT_ONCE = 32


@frozen(kw_only=True)
class GenerationProgress:
    """How many excerpts are done."""

    done: int
    total: int


@frozen(eq=False, kw_only=True)
class _Generated:
    excerpt: Excerpt
    score: Score
    #: The bars that are complete.
    bars: tuple[int, ...]


def generate(
    engine: InferenceEngine,
    excerpts: Excerpts,
    *,
    temperature: float = 1.0,
    progress: Callable[[GenerationProgress], None] = lambda _: None,
    go_on: Callable[[], bool] = lambda: True,
) -> GeneratedMusic | None:
    """What the model of ``engine`` generates in ``excerpts``: always the same tokens; None once ``go_on`` is False.

    Raises :class:`midigpt_core.errors.MidigptError` for a model that cannot generate.
    """
    if engine.encoder.grammar() is None:
        raise ConfigError("music cannot be measured: the model's encoder has no grammar, so nothing can be generated.")
    every = [*excerpts.free, *excerpts.controlled]
    generated: list[_Generated] = []
    for first in range(0, len(every), _AT_ONCE):
        progress(GenerationProgress(done=first, total=len(every)))
        some = every[first : first + _AT_ONCE]
        sessions = [
            engine.session(excerpt.score, excerpt.request(engine.encoder, first + place, temperature))
            for place, excerpt in enumerate(some)
        ]
        scores = run_together(sessions, go_on)
        if any(session.cancelled for session in sessions):
            return None
        for excerpt, session, score in zip(some, sessions, scores, strict=True):
            bars = tuple(sorted(bar for _, bar in session.generated_bars[0]))
            generated.append(_Generated(excerpt=excerpt, score=score, bars=bars))
    progress(GenerationProgress(done=len(every), total=len(every)))
    free, controlled = generated[: len(excerpts.free)], generated[len(excerpts.free) :]
    cells = np.zeros((len(free), *_shape([one.score for one in free])), np.bool_)
    for row, one in enumerate(free):
        cells[row, one.excerpt.track, list(one.bars)] = True
    return GeneratedMusic(
        generated=concatenate([one.score.columns for one in free]),
        true=concatenate([one.excerpt.score.columns for one in free]),
        cells=cells,
        autoregressive=np.array([one.excerpt.autoregressive for one in free], np.bool_),
        # A level is one of all the requested bars.
        controls=_answers([one for one in controlled if len(one.bars) == len(one.excerpt.bars)], engine.encoder),
    )


def _answers(controlled: Sequence[_Generated], encoder: Encoder) -> ControlAnswers:
    asked = [one.excerpt.control or (0, 0) for one in controlled]
    attribute = np.array([index for index, _ in asked], np.int32)
    return ControlAnswers(
        attribute=attribute,
        requested=np.array([level for _, level in asked], np.int16),
        reached=_levels(controlled, attribute, encoder),
        autoregressive=np.array([one.excerpt.autoregressive for one in controlled], np.bool_),
    )


def _levels(controlled: Sequence[_Generated], attribute: Int32Array, encoder: Encoder) -> Int16Array:
    """int16[M], the level of each generated track, -1 where there is none."""
    if not controlled:
        return np.zeros(0, np.int16)
    scores = [one.score for one in controlled]
    tracks, bars = _shape(scores)
    shown = np.full((len(scores), tracks), -1, np.int32)
    for row, score in enumerate(scores):
        shown[row, : len(score.tracks)] = np.arange(len(score.tracks))
    windows = plain_windows(
        piece=np.arange(len(scores)),
        start_bar=np.zeros(len(scores)),
        num_bars=[num_bars(score) for score in scores],
        tracks=shown,
        infill=np.zeros((len(scores), tracks, bars), np.bool_),
    )
    levels = encoder.compute_attributes(in_memory_corpus(scores), windows)
    if levels is None:
        return np.full(len(scores), -1, np.int16)
    rows = np.arange(len(scores))
    of_track: Int16Array = levels[rows, [one.excerpt.track for one in controlled], 0, attribute]
    return of_track


def _shape(scores: Sequence[Score]) -> tuple[int, int]:
    """The most tracks and bars of a score."""
    return max(len(score.tracks) for score in scores), max(map(num_bars, scores))
