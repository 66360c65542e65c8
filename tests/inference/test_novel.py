"""Requests of novel music: bars that the model was trained on are written again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest

from midigpt_core.corpus.copy_index import CopyIndex
from midigpt_core.inference import (
    GenerationRequest,
    InferenceConfig,
    InferenceEngine,
    RequestValidationError,
    TrackPrompt,
)
from midigpt_core.inference.outcome import outcomes
from midigpt_core.score import Score
from midigpt_core.score.bar_fingerprints import LEAST_NOTES, bar_fingerprints
from support.inference import engine

if TYPE_CHECKING:
    from midigpt_core.inference import SamplingSession
    from midigpt_core.records import BoolArray, UInt64Array

BACH = Score.from_midi(Path(__file__).resolve().parents[1] / "data" / "midi" / "mutopia_bach_invention_08.mid")
BARS = (8, 9, 10, 11)


class AllBars:
    """Knows every bar."""

    def looked_up(self, fingerprints: UInt64Array) -> BoolArray:
        return np.ones(len(fingerprints), np.bool_)

    contains = looked_up


def request(**config: object) -> GenerationRequest:
    given = {"seed": 5, "bars_per_step": 1, "max_attempts": 6, "density_hard_limit": 8, **config}
    return GenerationRequest([TrackPrompt(id=1, bars=BARS)], InferenceConfig.from_dict(given))


def knowing(known: object) -> InferenceEngine:
    made = copy.copy(engine())
    made.known_bars = known  # type: ignore[assignment]
    return made


def index(score: Score, transposed: int = 0) -> CopyIndex:
    """Of the bars of track 1 that are written."""
    columns = score.columns
    if transposed:
        columns = attrs.evolve(columns, note_pitch=(columns.note_pitch + transposed).astype(columns.note_pitch.dtype))
    cells, found = bar_fingerprints(columns)
    chosen = (cells.track == 1) & np.isin(cells.bar, BARS) & (cells.notes >= LEAST_NOTES)
    assert chosen.sum() >= 3
    return CopyIndex(corpus="00" * 32, pieces="00" * 16, sample=1.0, fingerprints=np.unique(found[chosen]))


def copied(session: SamplingSession, scores: list[Score]) -> list[tuple[int, ...] | None]:
    return [outcome.copied for outcome in outcomes(session, scores, engine().encoder)]


@pytest.mark.parametrize("transposed", [0, 5])
def test_a_copy_is_written_again(transposed: int) -> None:
    first = engine().session(BACH, request()).run()
    known = index(first, transposed)
    plain = knowing(known).session(BACH, request())
    assert plain.run().to_dict() == first.to_dict()
    (found,) = copied(plain, [first])
    assert found is not None
    assert len(found) >= 3
    novel = knowing(known).session(BACH, request(novel=True))
    score = novel.run()
    assert copied(novel, [score]) == [()]
    again = {bar for (step, _), attempts in novel.attempts.items() if attempts > 1
             for _, bar in novel.plan[step].step.cells}  # fmt: skip
    # What follows it is other music then.
    assert found[0] in again
    # The same music from the same seed.
    assert knowing(known).session(BACH, request(novel=True)).run().to_dict() == score.to_dict()


def test_the_last_attempt_is_kept_and_named() -> None:
    session = knowing(AllBars()).session(BACH, request(novel=True))
    score = session.run()
    assert session.generated_bars == [{(1, bar) for bar in BARS}]
    (found,) = copied(session, [score])
    cells, _ = bar_fingerprints(score.columns)
    of_track = cells.track == 1
    large = {*cells.bar[of_track & (cells.notes >= LEAST_NOTES)].tolist()} & {*BARS}
    assert found == tuple(sorted(large))
    assert {attempts for (step, _), attempts in session.attempts.items()
            if session.plan[step].step.cells[0][1] in large} == {6}  # fmt: skip


def test_bars_of_few_notes_are_no_copies() -> None:
    session = knowing(AllBars()).session(BACH, request(novel=True, density_hard_limit=LEAST_NOTES - 1))
    score = session.run()
    assert copied(session, [score]) == [()]


def test_without_known_bars_nothing_is_called_novel() -> None:
    with pytest.raises(RequestValidationError, match=r"config.novel: .*not known"):
        engine().session(BACH, request(novel=True))
    session = engine().session(BACH, request())
    assert copied(session, [session.run()]) == [None]
