"""Measures whether the model follows attribute controls: requested and reached levels, on pieces it never saw.

Each request rewrites four bars of one track, with the other tracks as context, and asks for one level. Every level is
requested equally often. The encoder then measures the level of the new notes. The share of hits is compared with that
of *shuffled* requests: how often the reached level is the one that another request asked for. A model that ignores
controls reaches the shuffled share. Intervals are 95 % of a bootstrap over requests.

    python docs/demo/control.py BUNDLE [--requests 400] [--seed 1] [--temperature 1.0]
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np
import torch
from attrs import frozen
from compose import HELD_OUT, compose

from midigpt_core.cores import available_cores
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.inference.outcome import outcomes
from midigpt_core.score.editing import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from midigpt_core.score import Score

#: Pieces of ``make run``'s data set, seed 1, that are in neither split.
UNSEEN = HELD_OUT[30:]
BARS = 4
RESAMPLES = 2000


@frozen
class Control:
    """What is asked of which track; the track has an index in every composed piece that has it."""

    name: str
    #: Asked for with one level: in this data the least and the largest polyphony of a track are the same.
    attributes: tuple[str, ...]
    track: int
    levels: int
    autoregressive: bool

    @property
    def how(self) -> str:
        return "from left to right" if self.autoregressive else "filled in"


CONTROLS = [
    Control(name, attributes, track, 10, autoregressive)
    for name, attributes, track in (
        ("drums: note_density", ("note_density",), 3),
        ("chords: min_polyphony = max_polyphony", ("min_polyphony", "max_polyphony"), 1),
    )
    for autoregressive in (True, False)
]


def unseen(track: int) -> Iterator[Score]:
    """Four bars each of pieces that have ``track``."""
    for number in UNSEEN:
        score = compose(1, number)
        if len(score.tracks) > track:
            yield excerpt(score, 0, BARS, range(len(score.tracks)))


def ask(engine: InferenceEngine, control: Control, count: int, seed: int, temperature: float) -> NDArray[np.int64]:
    """int64[count, 2]: the level asked for and the level reached, -1 for a track without one."""
    pairs = []
    for number, score in zip(range(count), unseen(control.track), strict=False):
        level = number % control.levels
        prompt = TrackPrompt(
            id=control.track,
            bars=range(BARS),
            autoregressive=control.autoregressive,
            attributes=dict.fromkeys(control.attributes, level),
        )
        config = InferenceConfig(
            seed=seed + number,
            window_bars=BARS,
            temperature=temperature,
            max_attempts=1,
            novelty_check=False,
            silence_check=False,
        )
        session = engine.session(score, GenerationRequest([prompt], config))
        (outcome,) = outcomes(session, [session.run()], engine.encoder)
        # The last of the attributes: of a polyphony that is asked for as least and largest, the largest.
        reached = outcome.attributes[-1].reached
        pairs.append((level, -1 if reached is None else reached))
    return np.array(pairs)


def rates(pairs: NDArray[np.int64], tolerance: int) -> tuple[float, float]:
    """Share of hits, and that of all shuffles: of all pairs of two different requests."""
    asked, reached = pairs.T
    hits = np.abs(asked[:, None] - reached[None, :]) <= tolerance
    hits &= reached[None, :] >= 0
    own = np.diag(hits)
    count = len(pairs)
    return float(own.mean()), float((hits.sum() - own.sum()) / (count * (count - 1)))


def row(control: Control, pairs: NDArray[np.int64], random: np.random.Generator) -> str:
    cells = [control.name, control.how, str(len(pairs))]
    for tolerance in (0, 1):
        resampled = [rates(pairs[random.integers(len(pairs), size=len(pairs))], tolerance) for _ in range(RESAMPLES)]
        hit, shuffled = rates(pairs, tolerance)
        hits, shuffles = np.array(resampled).T
        ratios = hits / np.maximum(shuffles, 1e-9)
        cells += [
            f"{hit:.0%} ({interval(hits, '.0%')})",
            f"{shuffled:.0%}",
            f"{hit / max(shuffled, 1e-9):.1f} ({interval(ratios, '.1f')})",
        ]
    return f"| {' | '.join(cells)} |"


def interval(values: NDArray[np.float64], form: str) -> str:
    low, high = np.quantile(values, [0.025, 0.975])
    return f"{low:{form}} to {high:{form}}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle")
    parser.add_argument("--requests", type=int, default=400, help="requests of each row")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=1.0)
    options = parser.parse_args()
    torch.set_num_threads(available_cores())
    engine = InferenceEngine.from_checkpoint(options.bundle, "cpu")
    random = np.random.default_rng(options.seed)
    print("| control | written | requests | exact | shuffled | times | within 1 | shuffled | times |")
    print("|---|---|---|---|---|---|---|---|---|")
    for control in CONTROLS:
        pairs = ask(engine, control, options.requests, options.seed, options.temperature)
        print(row(control, pairs, random), flush=True)


if __name__ == "__main__":
    main()
