"""The outcome of a request: for every candidate and track the bars written, their novelty and attribute levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from attrs import frozen

from midigpt_core.encoding.encode_one import Part, window_of
from midigpt_core.inference.session import same_share
from midigpt_core.score import editing
from midigpt_core.score.columns import in_memory_corpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.inference.fitting import Planned
    from midigpt_core.inference.request import TrackPrompt
    from midigpt_core.inference.session import SamplingSession
    from midigpt_core.records import Int16Array
    from midigpt_core.score import Score


@frozen(kw_only=True)
class Reached:
    """The requested and the reached level of one attribute control, in one window that wrote the track."""

    name: str
    #: The bar, for a bar control. None for a track control, which covers the bars ``first_bar`` to ``last_bar``.
    bar: int | None
    first_bar: int
    last_bar: int
    requested: int
    #: The level of the written notes. None if the control gives no level, as for a track without notes.
    reached: int | None


@frozen(kw_only=True)
class Listening:
    """The context that the model saw while it wrote some bars of a track."""

    #: Bars that were written with this context, ascending.
    bars: tuple[int, ...]
    #: Other tracks that the model saw, ascending.
    heard: tuple[int, ...]
    #: Tracks that were left out because the number of tracks and tokens is limited, ascending.
    left_out: tuple[int, ...]


@frozen(kw_only=True)
class TrackOutcome:
    """The outcome for one candidate in one requested track."""

    candidate: int
    track: int
    #: Bars that were written, ascending.
    bars: tuple[int, ...]
    #: Notes in them.
    notes: int
    #: Share of these notes that the piece did not have in the same bar at the same onset and pitch; None without notes.
    novelty: float | None
    attributes: tuple[Reached, ...]
    #: The context of the bars: one item for each set of tracks, in the order of their first bars.
    context: tuple[Listening, ...]
    #: Bars with at least four notes that are in the music that the model was trained on, exactly or transposed; None:
    #: that music is not known.
    copied: tuple[int, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        return attrs.asdict(self)


def outcomes(session: SamplingSession, scores: Sequence[Score], encoder: Encoder) -> list[TrackOutcome]:
    """The outcomes of the last run of ``session``, which returned ``scores``; ``encoder`` is that of its engine."""
    return [
        _outcome(session, score, encoder, candidate, prompt)
        for candidate, score in enumerate(scores)
        for prompt in sorted(session.request.tracks, key=lambda prompt: prompt.id)
        if prompt.bars and not prompt.ignore
    ]


def _outcome(
    session: SamplingSession, score: Score, encoder: Encoder, candidate: int, prompt: TrackPrompt
) -> TrackOutcome:
    bars = tuple(sorted(bar for track, bar in session.generated_bars[candidate] if track == prompt.id))
    cells = np.zeros((len(score.tracks), editing.num_bars(score)), np.bool_)
    cells[prompt.id, list(bars)] = True
    notes = editing.note_table(score)
    notes = notes.where(cells[notes.track, notes.bar])
    written = set(bars)
    copied = session.copied(score, [(prompt.id, bar) for bar in bars])
    return TrackOutcome(
        candidate=candidate,
        track=prompt.id,
        bars=bars,
        notes=len(notes),
        novelty=1 - same_share(session.score, cells, notes) if len(notes) else None,
        copied=None if copied is None else tuple(bar for _, bar in copied),
        attributes=tuple(
            found
            for planned in session.plan
            # A window of which only some bars were generated has no level to compare.
            if {bar for track, bar in planned.step.cells if track == prompt.id} <= written
            for found in _reached(encoder, score, prompt, planned)
        ),
        context=_context(session, candidate, prompt.id),
    )


def _context(session: SamplingSession, candidate: int, track: int) -> tuple[Listening, ...]:
    written = session.generated_bars[candidate]
    bars_of: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for number, planned in enumerate(session.plan):
        bars = [bar for of, bar in planned.step.cells if of == track and (of, bar) in written]
        if bars:
            out = session.left_out(number, candidate)
            heard = {*planned.tracks} - out - {track}
            bars_of.setdefault((tuple(sorted(heard)), tuple(sorted(out))), []).extend(bars)
    found = [Listening(bars=tuple(sorted(bars)), heard=heard, left_out=out) for (heard, out), bars in bars_of.items()]
    return tuple(sorted(found, key=lambda listening: listening.bars))


def _reached(encoder: Encoder, score: Score, prompt: TrackPrompt, planned: Planned) -> Iterator[Reached]:
    step = planned.step
    bars = [bar for track, bar in step.cells if track == prompt.id]
    if not bars or not (prompt.attributes or prompt.bar_attributes):
        return
    part = Part(first_bar=step.start_bar, last_bar=step.end_bar - 1, tracks=planned.tracks)
    levels = attribute_levels(encoder, score, part)
    places = {(attribute.level, attribute.name): place for place, attribute in enumerate(encoder.attributes)}
    of_track = levels[planned.tracks.index(prompt.id)]

    def found(name: str, bar: int | None, requested: int) -> Reached:
        if bar is None:
            level = int(of_track[0, places["track", name]])
        else:
            place = places["bar", name if ("bar", name) in places else f"bar_{name}"]
            level = int(of_track[1 + bar - step.start_bar, place])
        return Reached(
            name=name,
            bar=bar,
            first_bar=part.first_bar,
            last_bar=part.last_bar,
            requested=requested,
            reached=None if level < 0 else level,
        )

    yield from (found(name, None, level) for name, level in prompt.attributes.items())
    yield from (
        found(name, bar, level)
        for bar, asked in sorted(prompt.bar_attributes.items())
        if bar in bars
        for name, level in asked.items()
    )


def attribute_levels(encoder: Encoder, score: Score, part: Part) -> Int16Array:
    """The levels of ``encoder.attributes`` in a window of a score: int16[T, 1+B, K], see ``attribute_values`` of
    :class:`~midigpt_core.records.WindowBatch`; -1 where a control does not apply. Bars beyond the score are empty."""
    whole = editing.with_bars(score, part.last_bar + 1)
    levels = encoder.compute_attributes(in_memory_corpus([whole]), window_of(part))
    if levels is None:
        return np.full((len(part.tracks), 1 + part.num_bars, 0), -1, np.int16)
    window: Int16Array = levels[0]
    return window
