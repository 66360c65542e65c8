"""Measures how well filled bars keep to the pitch range that their track has elsewhere, on the validation pieces.

*Outside*: of the notes that the model writes into bars 4 and 5 of a track, the share outside the range of the other
bars, and the same share of the original bars. *Probability outside*: how much of the model's probability is outside
the range where one of their notes begins, the true notes before it given. *First pitch*: the cost in nats of the first
pitch of bar 5, filled in alone, and how much of the model's probability is inside the range.

    python docs/demo/register.py BUNDLE [--seed 1] [--bars-per-step 1]
"""

from __future__ import annotations

import argparse
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from compose import HELD_OUT, compose

from midigpt_core.encoding.encode_one import encode_part, part_of
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.inference.session import run_together

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from midigpt_core.score import Score

#: Numbers of the pieces in the validation split of ``make run``'s data set, seed 1.
VALIDATION = HELD_OUT[:30]
#: Pieces of which the probability outside is taken; more, as it needs no sampling.
MANY = HELD_OUT[:120]
#: Tracks by name; every composed piece has these three at least.
TRACKS = {"melody": 0, "chords": 1, "bass": 2}
BARS = (4, 5)
#: The window of the first pitch's bar.
_WINDOW = (4, 7)
#: That of :data:`BARS`, of whose notes the probability outside is taken.
_WINDOW_OF_BARS = (2, 5)


@frozen
class Register:
    """Notes of filled bars, and how many of them lie outside the range of the track's other bars."""

    notes: int = 0
    outside: int = 0

    @property
    def share(self) -> float:
        """Outside, of the notes; 0 without notes, so look at their number too."""
        return self.outside / max(self.notes, 1)

    def __add__(self, other: Register) -> Register:
        return Register(self.notes + other.notes, self.outside + other.outside)


def pitches(score: Score, track: int) -> list[NDArray[np.int64]]:
    """By bar."""
    return [bar.notes.pitch.astype(np.int64) for bar in score.tracks[track].bars]


def elsewhere(score: Score, track: int, bars: Sequence[int]) -> tuple[int, int]:
    """The lowest and the highest pitch outside ``bars``."""
    others = np.concatenate([pitch for bar, pitch in enumerate(pitches(score, track)) if bar not in bars])
    return int(others.min()), int(others.max())


def register(score: Score, written: Score, track: int, bars: Sequence[int]) -> Register:
    """That of ``bars`` in ``written``, which shares the other bars with ``score``."""
    low, high = elsewhere(score, track, bars)
    notes = np.concatenate([pitches(written, track)[bar] for bar in bars])
    return Register(len(notes), int(((notes < low) | (notes > high)).sum()))


def filled_and_true(
    engine: InferenceEngine, track: int, seed: int, **settings: Any
) -> tuple[list[Register], list[Register]]:
    """What the model writes and what stood there, by validation piece; ``settings`` go into the request."""
    scores = [compose(1, number) for number in VALIDATION]
    configs = [InferenceConfig(seed=seed + number, max_attempts=1, **settings) for number in VALIDATION]
    requests = [GenerationRequest([TrackPrompt(id=track, bars=BARS)], config) for config in configs]
    written = run_together([engine.session(score, request) for score, request in zip(scores, requests, strict=True)])
    filled = [register(score, result, track, BARS) for score, result in zip(scores, written, strict=True)]
    true = [register(score, score, track, BARS) for score in scores]
    return filled, true


def chances(
    engine: InferenceEngine, score: Score, track: int, bars: Sequence[int], window: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What the model gives to each pitch where a note of ``bars`` begins, the true notes before it given.

    ``bars`` of ``window`` are filled in. Returns probabilities [notes, 128] and the true pitches [notes].
    """
    tokens = encode_part(engine.encoder, score, part_of(score, bars=window, infill=[(track, bar) for bar in bars]))
    vocabulary = engine.encoder.vocabulary
    onsets = np.flatnonzero(vocabulary.type_of == vocabulary.type_names.index("NoteOnset"))
    block = int(np.flatnonzero(vocabulary.type_of[tokens] == vocabulary.type_names.index("FillInStart"))[0])
    places = block + np.flatnonzero(np.isin(tokens[block:], onsets))
    probabilities = engine.logits(tokens)[places - 1][:, onsets].double().softmax(-1).numpy()
    return probabilities, vocabulary.value_of[tokens[places]].astype(np.int64)


def mass_outside(engine: InferenceEngine, score: Score, track: int) -> list[float]:
    """For each note of the filled bars, the probability of the pitches outside the range."""
    probabilities, _ = chances(engine, score, track, BARS, _WINDOW_OF_BARS)
    low, high = elsewhere(score, track, BARS)
    return [float(mass) for mass in 1 - probabilities[:, low : high + 1].sum(-1)]


def first_pitch(engine: InferenceEngine, score: Score, track: int) -> tuple[float, float]:
    """The cost in nats of the first pitch of bar 5, and the probability of the pitches inside the range."""
    bar = BARS[-1]
    probabilities, true = chances(engine, score, track, (bar,), _WINDOW)
    low, high = elsewhere(score, track, (bar,))
    return -float(np.log(probabilities[0, true[0]])), float(probabilities[0, low : high + 1].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bars-per-step", type=int, default=0, help="bars that one step writes; 0: auto")
    options = parser.parse_args()
    engine = InferenceEngine.from_checkpoint(options.bundle, "cpu")
    settings = {"bars_per_step": options.bars_per_step} if options.bars_per_step else {}
    print("| track | notes | outside | true bars | probability outside | first pitch, nats | inside |")
    print("|---|---|---|---|---|---|---|")
    for name, track in TRACKS.items():
        by_piece = filled_and_true(engine, track, options.seed, **settings)
        filled, true = (sum(pieces, Register()) for pieces in by_piece)
        costs, inside = zip(*(first_pitch(engine, compose(1, number), track) for number in VALIDATION), strict=True)
        mass = fmean(mass for number in MANY for mass in mass_outside(engine, compose(1, number), track))
        shares = (f"{filled.share:.1%}", f"{true.share:.1%}", f"{mass:.3f}")
        cells = (*shares, f"{fmean(costs):.2f}", f"{fmean(inside):.2f}")
        print(f"| {name} | {filled.notes} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
