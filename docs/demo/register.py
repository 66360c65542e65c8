"""Do filled bars fit? How many notes of filled melody bars lie outside the range that the track has elsewhere.

Bars 4 and 5 of the melody of every piece of the validation split are filled in, as ``make run`` does it. Beside the
model's share stands that of the bars that were there before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from compose import compose

from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midigpt_core.score import Score

#: Numbers of the pieces in the validation split of ``make run``'s data set, seed 1.
VALIDATION = range(300, 330)
MELODY = 0
BARS = (4, 5)


@frozen
class Register:
    """Notes of filled bars, and how many of them lie outside the range of the track's other bars."""

    notes: int
    outside: int

    @property
    def share(self) -> float:
        return self.outside / max(self.notes, 1)

    def __add__(self, other: Register) -> Register:
        return Register(self.notes + other.notes, self.outside + other.outside)


def register(score: Score, filled: Score, track: int, bars: Sequence[int]) -> Register:
    """That of ``bars`` in ``filled``; the range is that of the other bars, which both scores share."""
    pitches = [bar.notes.pitch.astype(int) for bar in score.tracks[track].bars]
    elsewhere = np.concatenate([pitch for index, pitch in enumerate(pitches) if index not in bars])
    written = np.concatenate([filled.tracks[track].bars[bar].notes.pitch.astype(int) for bar in bars])
    outside = (written < elsewhere.min()) | (written > elsewhere.max())
    return Register(len(written), int(outside.sum()))


def filled_and_true(
    checkpoint: Path, *, seed: int = 1, numbers: Sequence[int] = VALIDATION, **settings: int
) -> tuple[list[Register], list[Register]]:
    """By piece, what a model writes and what stood there; ``settings`` go into the request."""
    engine = InferenceEngine.from_checkpoint(checkpoint, "cpu")
    filled, true = [], []
    for number in numbers:
        score = compose(1, number)
        config = InferenceConfig(seed=seed + number, max_attempts=1, **settings)
        request = GenerationRequest([TrackPrompt(id=MELODY, bars=BARS)], config)
        written = engine.session(score, request).run()
        filled.append(register(score, written, MELODY, BARS))
        true.append(register(score, score, MELODY, BARS))
    return filled, true
