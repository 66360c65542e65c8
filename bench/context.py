"""Scores choices of context tracks. Scores true bars of real pieces under each choice of tracks.

    python -m bench.context BUNDLE FOLDER [--budget 4] [--windows 8] [--seed 1]

FOLDER holds MIDI files that the model was not trained on. Of each piece with more tracks than ``--budget`` and one, it
draws windows at random: a track to be written that sounds in them, and bars. The true music is encoded with the track
and ``--budget`` less one others, as each rule chooses them, and ``engine.score_tokens`` says how probable the model
finds the true bars' tokens. The fewer nats a token costs, the more the choice told the model. Rules are compared on
the same windows; intervals are 95 % of a bootstrap over pieces.

Look at the row "none" first. A model that any context costs nats, the more the longer it is, has not learned to
listen, nor the positions behind a long context: it says how long the tracks are, not what they are worth.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from attrs import frozen

from midigpt_core.cores import available_cores
from midigpt_core.encoding.encode_one import Part, encode_part
from midigpt_core.errors import DataError, EncodingError
from midigpt_core.inference import InferenceEngine
from midigpt_core.inference import context as of
from midigpt_core.inference.planner import Step
from midigpt_core.score import Score, editing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.inference.context import Kept, WindowContext
    from midigpt_core.records import BoolArray, Float64Array, Int32Array, Int64Array

    Clause = Callable[[WindowContext, Kept], Int64Array]

BARS = 4
RESAMPLES = 2000
#: Random choices of tracks per window: their mean is the row "at random", the best of them the last row.
TRIES = 10


@frozen(eq=False, kw_only=True)
class Window:
    """Bars of one track of a piece that are to be written, and the tracks that could be heard."""

    score: Score
    step: Step
    others: tuple[int, ...]
    #: Tokens that each of ``others`` takes by itself.
    lengths: dict[int, int]
    context: WindowContext


def listed(*rule: Clause) -> Callable[[Window, int], list[int]]:
    return lambda window, count: of.rank_context(window.context, window.others, rule=rule)[:count]


def fewest_tokens(window: Window, count: int) -> list[int]:
    return sorted(window.others, key=lambda track: (window.lengths[track], -track))[:count]


def most_tokens(window: Window, count: int) -> list[int]:
    return sorted(window.others, key=lambda track: (-window.lengths[track], track))[:count]


def silence(context: WindowContext, kept: Kept) -> Int64Array:
    return context.nearness


def like_the_written(context: WindowContext, kept: Kept) -> Int64Array:
    """Tracks that double the one that is written, in the bars around those asked for, come first."""
    doubling = np.zeros(len(context.nearness), np.bool_)
    for track in context.written:
        doubling |= context.doubling(track)
    return (~doubling).astype(np.int64)


RULES: dict[str, Callable[[Window, int], list[int]]] = {
    "none": lambda _window, _count: [],
    "the fewest tokens": fewest_tokens,
    "the most tokens": most_tokens,
    "silent ones": listed(silence),
    "in the order of the file": lambda window, count: list(window.others[:count]),
    "1 sounding": listed(of.sounding),
    "1, 2 no doubling": listed(of.sounding, of.no_doubling),
    "1, 3 drums and bass": listed(of.sounding, of.rhythm_section),
    "1, 4 other families": listed(of.sounding, of.other_families),
    "1, 5 busier": listed(of.sounding, of.busier),
    "1, doubles of the written": listed(of.sounding, like_the_written),
    "1, 2, 3": listed(of.sounding, of.no_doubling, of.rhythm_section),
    "1, 2, 4": listed(of.sounding, of.no_doubling, of.other_families),
    "1, 2, 5": listed(of.sounding, of.no_doubling, of.busier),
    "1, 3, 5": listed(of.sounding, of.rhythm_section, of.busier),
    "1, 2, 3, 5": listed(of.sounding, of.no_doubling, of.rhythm_section, of.busier),
    "1, 2, 4, 5": listed(of.sounding, of.no_doubling, of.other_families, of.busier),
    "1, 2, 4, 3, 5": listed(of.sounding, of.no_doubling, of.other_families, of.rhythm_section, of.busier),
    "1, 2, 3, 4, 5": listed(*of.RULE),
}


def windows(
    engine: InferenceEngine, path: Path, budget: int, count: int, random: np.random.Generator, *, from_left: bool
) -> Iterator[Window]:
    """``count`` windows of a piece, or fewer where it has no more."""
    score = Score.from_midi(path)
    table, bars = editing.note_table(score), editing.num_bars(score)
    sounds = np.zeros((len(score.tracks), bars), np.bool_)
    sounds[table.track, table.bar] = True
    tracks = np.flatnonzero(sounds.any(axis=1))
    if len(tracks) <= budget + 1 or bars < BARS:
        return
    score = editing.with_bars(score, 0)
    # The bars that are written: all of the window from left to right, else the two in its middle.
    first, last = (0, BARS) if from_left else (1, 3)
    starts = np.arange(bars - BARS + 1)
    fits = np.array([[sounds[track, start + first : start + last].all() for start in starts] for track in tracks])
    places = random.permutation(np.argwhere(fits))
    found = 0
    for place, start in places:
        if found == count:
            return
        track = int(tracks[place])
        step = Step(
            start_bar=int(start),
            num_bars=BARS,
            autoregressive=from_left,
            cells=tuple((track, bar) for bar in range(start + first, start + last)),
        )
        others = tuple(int(other) for other in tracks if other != track)
        try:
            lengths = {other: len(encode_part(engine.encoder, score, _part(step, (other,)))) for other in others}
        except EncodingError:
            continue
        if sum(sorted(lengths.values())[-budget:]) > engine.max_tokens:
            continue
        found += 1
        nothing = np.zeros((len(score.tracks), BARS), np.bool_)
        context = of.WindowContext.of(score, step, nothing, nothing)
        yield Window(score=score, step=step, others=others, lengths=lengths, context=context)


def _part(step: Step, tracks: Sequence[int], infill: Sequence[tuple[int, int]] = ()) -> Part:
    return Part(first_bar=step.start_bar, last_bar=step.end_bar - 1, tracks=tuple(tracks), infill=tuple(infill))


class Scorer:
    """Nats that the true bars of a window cost, by the tracks that are heard; each choice is read once."""

    def __init__(self, engine: InferenceEngine, window: Window) -> None:
        self._engine = engine
        self._window = window
        self._known: dict[tuple[int, ...], tuple[float, int]] = {}

    def __call__(self, heard: Sequence[int]) -> tuple[float, int]:
        """Nats of the true bars, and their tokens."""
        key = tuple(sorted(heard))
        if key not in self._known:
            self._known[key] = self._score(key)
        return self._known[key]

    def _score(self, heard: tuple[int, ...]) -> tuple[float, int]:
        step = self._window.step
        (track,) = step.tracks
        # As a session writes them: what is written from left to right comes last.
        tracks = (*heard, track) if step.autoregressive else sorted((*heard, track))
        part = _part(step, tracks, () if step.autoregressive else step.cells)
        tokens = encode_part(self._engine.encoder, self._window.score, part)
        target = target_of(self._engine.encoder, tokens, from_left=step.autoregressive)
        return -float(self._engine.score_tokens(tokens)[target[1:]].sum()), int(target[1:].sum())


def target_of(encoder: Encoder, tokens: Int32Array, *, from_left: bool) -> BoolArray:
    """bool[n]: the tokens of the true bars: those of the last track after its header, or those of the fill blocks."""
    names = np.array([encoder.vocabulary.name(token).partition("(")[0] for token in tokens.tolist()])
    places = np.arange(len(names))
    if from_left:
        header = places[names == "Track"][-1]
        bars = (names == "Bar") & (places > header)
    else:
        bars = names == "FillInStart"
    target: BoolArray = (places > places[bars][0]) & (names != "FillInStart")
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--budget", type=int, default=4, help="tracks of a window, with the one written (4)")
    parser.add_argument("--windows", type=int, default=8, help="windows of each piece (8)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(available_cores())
    engine = InferenceEngine.from_checkpoint(options.bundle, "cpu")
    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in {".mid", ".midi"})
    if not paths:
        raise DataError(f"{options.folder}: no MIDI files. Name a folder with some.")
    for from_left in (False, True):
        print("Written from left to right" if from_left else "Filled in", flush=True)
        measure(engine, paths, options.budget, options.windows, options.seed, from_left=from_left)


def measure(
    engine: InferenceEngine, paths: Sequence[Path], budget: int, count: int, seed: int, *, from_left: bool
) -> None:
    random = np.random.default_rng(seed)
    rows: list[list[float]] = []
    pieces: list[int] = []
    tokens: list[int] = []
    silent: list[list[bool]] = []
    lengths: list[list[int]] = []
    for piece, path in enumerate(paths):
        for window in windows(engine, path, budget, count, random, from_left=from_left):
            score = Scorer(engine, window)
            choices = [rule(window, budget - 1) for rule in RULES.values()]
            tries = [random.choice(window.others, budget - 1, replace=False).tolist() for _ in range(TRIES)]
            drawn = [score(heard)[0] for heard in tries]
            rows.append([*(score(heard)[0] for heard in choices), float(np.mean(drawn)), min(drawn)])
            silent.append([not any(window.context.nearness[track] for track in heard) for heard in choices])
            lengths.append([sum(window.lengths[track] for track in heard) for heard in choices])
            tokens.append(score(choices[0])[1])
            pieces.append(piece)
    if not rows:
        raise DataError(f"no piece has more than {budget + 1} tracks and a window of {BARS} bars. Use other files.")
    report(np.array(rows), np.array(tokens), np.array(pieces), np.array(silent), np.array(lengths), random=random)


def report(
    nats: Float64Array,
    tokens: Int64Array,
    pieces: Int64Array,
    silent: BoolArray,
    lengths: Int64Array,
    *,
    random: np.random.Generator,
) -> None:
    names = [*RULES, "at random (mean of ten)", "the best of these ten"]
    known = np.unique(pieces)
    print(f"{len(tokens)} windows of {len(known)} pieces, {tokens.sum()} tokens")
    print(
        "| tracks kept | nats per token | less than with the fewest tokens | only silent tracks | tokens of context |"
    )
    print("|---|---|---|---|---|")
    # Sums by piece, of which each resample takes as many as there are.
    by_piece = np.stack([nats[pieces == piece].sum(axis=0) for piece in known])
    counts = np.array([tokens[pieces == piece].sum() for piece in known])
    picks = random.integers(len(known), size=(RESAMPLES, len(known)))
    resampled = by_piece[picks].sum(axis=1) / counts[picks].sum(axis=1)[:, None]
    base = names.index("the fewest tokens")
    for place, name in enumerate(names):
        mean = by_piece[:, place].sum() / counts.sum()
        gain = by_piece[:, base].sum() / counts.sum() - mean
        low, high = np.quantile(resampled[:, base] - resampled[:, place], [0.025, 0.975])
        deaf = f"{silent[:, place].mean():.0%}" if place < silent.shape[1] else "-"
        context = f"{lengths[:, place].mean():.0f}" if place < lengths.shape[1] else "-"
        print(f"| {name} | {mean:.4f} | {gain:+.4f} ({low:+.4f} to {high:+.4f}) | {deaf} | {context} |")


if __name__ == "__main__":
    main()
