"""Excerpts of unseen pieces, and what a model is to generate in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.windows import WindowDrawer
from midigpt_core.errors import DataError
from midigpt_core.inference import GenerationRequest, InferenceConfig, TrackPrompt, validation
from midigpt_core.inference.trained import TrainedWindows
from midigpt_core.keys import Stage, below, derive, uniforms
from midigpt_core.music.measuring import MUSIC_SEED
from midigpt_core.score import Score, columns, editing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.data.stream import StreamSpec
    from midigpt_core.data.windows import DrawnWindows
    from midigpt_core.records import Corpus, Int64Array

#: Bars of an excerpt, if its window has no more: the range of a track and what bars share are measured in it.
_BARS = 16
#: Fewest different pieces: with one, there is no other to compare with.
FEWEST_PIECES = 2
#: Windows drawn for each excerpt until one can be used.
_TRIES = 4
#: Which of the numbers of an excerpt's key decide what.
_TRACK, _CONTROL, _LEVEL = range(3)


@frozen(eq=False, kw_only=True)
class Excerpt:
    """Bars of a piece, and what a model is to generate in them."""

    #: Piece index in the corpus.
    piece: int
    score: Score
    #: The track to generate bars of, and the bars.
    track: int
    bars: range
    autoregressive: bool
    #: Bars of the window that the model sees.
    window: int
    #: Index of the requested control among the encoder's attributes, and its level; None: nothing is requested.
    control: tuple[int, int] | None = None

    def request(self, encoder: Encoder, seed: int, temperature: float) -> GenerationRequest:
        """One attempt: figures are of what a model generates first."""
        levels = {}
        if self.control is not None:
            attribute, level = self.control
            levels = {encoder.attributes[attribute].name: level}
        prompt = TrackPrompt(id=self.track, bars=self.bars, autoregressive=self.autoregressive, attributes=levels)
        config = InferenceConfig(
            seed=seed,
            window_bars=self.window,
            temperature=temperature,
            max_attempts=1,
            novelty_check=False,
            silence_check=False,
        )
        return GenerationRequest([prompt], config)


@frozen(eq=False, kw_only=True)
class Excerpts:
    """What is measured: excerpts without a request for a control, and excerpts with one."""

    free: Sequence[Excerpt]
    controlled: Sequence[Excerpt]

    @property
    def pieces(self) -> int:
        """Number of different pieces."""
        return len({excerpt.piece for excerpt in self.free})


def draw_excerpts(
    spec: StreamSpec, encoder: Encoder, count: int, *, controls: bool = True, fewest_pieces: int = FEWEST_PIECES
) -> Excerpts:
    """About ``count`` excerpts of the pieces of ``spec``, and with ``controls`` as many in which a level of a control
    is requested.

    Windows are drawn as in training, without augmentation, from as many different pieces as there are. Excerpts
    alternate between the middle half of a track's bars in the window to fill in, and all of its bars in the window to
    generate from left to right, if the settings train both. Always the same for the same data and settings.
    Raises :class:`DataError` with how many pieces there are if they are fewer than ``fewest_pieces``.
    """
    settings = spec.settings.evaluation()
    pieces = _in_turn(spec.pieces, count * _TRIES)
    keys = derive(MUSIC_SEED, Stage.MUSIC, np.arange(len(pieces)))
    opened = open_corpus(spec.shards)
    opened.verify(pieces)
    drawn = WindowDrawer(opened.corpus, encoder, None, settings).draw(keys, pieces)
    kinds = [
        *([False] if spec.settings.infill_probability > 0 and "infill" in encoder.provides else []),
        *([True] if spec.settings.infill_probability < 1 else []),
    ] or [True]
    trained = TrainedWindows(sizes=settings.num_bars_choices, max_tracks=settings.max_tracks)
    free: list[Excerpt] = []
    controlled: list[Excerpt] = []
    chances = uniforms(derive(keys, Stage.MUSIC), 3)
    for place, draw in enumerate(drawn.draw.tolist()):
        if len(free) >= count:
            break
        autoregressive = kinds[len(free) % len(kinds)]
        plain = _excerpt(opened.corpus, drawn, place, chances[draw], autoregressive=autoregressive)
        if validation.problems(plain.request(encoder, 0, 1.0), plain.score, encoder, trained):
            continue
        free.append(plain)
        asked = _with_control(plain, encoder, chances[draw]) if controls else None
        if asked is not None and not validation.problems(asked.request(encoder, 0, 1.0), asked.score, encoder, trained):
            controlled.append(asked)
    opened.check_unlost()
    found = Excerpts(free=free, controlled=controlled)
    if found.pieces < fewest_pieces:
        raise DataError(
            f"music cannot be measured on {found.pieces} of the {len(spec.pieces)} pieces of this data that have "
            f"windows of {', '.join(map(str, settings.num_bars_choices))} bars: at least {fewest_pieces} "
            f"{'piece is' if fewest_pieces == 1 else 'pieces are'} needed. Give more data."
        )
    return found


def _in_turn(pieces: Int64Array, count: int) -> Int64Array:
    """``count`` of ``pieces``, each in an order drawn at random as often as every other before it comes again."""
    rounds = -(-count // len(pieces))
    keys = derive(MUSIC_SEED, Stage.PIECE, np.arange(rounds))
    orders = [np.argsort(row, kind="stable") for row in uniforms(keys, len(pieces))]
    return pieces[np.concatenate(orders)[:count]]


def _excerpt(corpus: Corpus, drawn: DrawnWindows, place: int, chances: Any, *, autoregressive: bool) -> Excerpt:
    windows = drawn.windows
    piece, first, count = (int(column[place]) for column in (windows.piece, windows.start_bar, windows.num_bars))
    tracks = windows.tracks[place]
    whole = _score(corpus, piece)
    length = min(max(_BARS, count), editing.num_bars(whole))
    start = min(max(first - (length - count) // 2, 0), editing.num_bars(whole) - length)
    score = editing.excerpt(whole, start, length, tracks[tracks >= 0])
    begin = first - start
    bars = range(begin, begin + count)
    if not autoregressive:
        bars = range(begin + count // 4, begin + count // 4 + max(count // 2, 1))
    track = int(below(chances[_TRACK], len(score.tracks)))
    return Excerpt(piece=piece, score=score, track=track, bars=bars, autoregressive=autoregressive, window=count)


def _with_control(plain: Excerpt, encoder: Encoder, chances: Any) -> Excerpt | None:
    """The excerpt with all bars of its window to generate, and a level of a control of the track requested.

    None if the encoder has no control for the track."""
    drum = bool(plain.score.tracks[plain.track].is_drum)
    controls = [
        index
        for index, attribute in enumerate(encoder.attributes)
        if attribute.level == "track" and attribute.size > 1 and attribute.applies_to(drum)
    ]
    if not controls:
        return None
    control = controls[int(below(chances[_CONTROL], len(controls)))]
    level = int(below(chances[_LEVEL], encoder.attributes[control].size))
    first = plain.bars.start - (0 if plain.autoregressive else plain.window // 4)
    # The level is one of the whole window, so the score is the window alone.
    return Excerpt(
        piece=plain.piece,
        score=editing.excerpt(plain.score, first, plain.window, range(len(plain.score.tracks))),
        track=plain.track,
        bars=range(plain.window),
        autoregressive=plain.autoregressive,
        window=plain.window,
        control=(control, level),
    )


def _score(corpus: Corpus, piece: int) -> Score:
    shard, index = corpus.locate(piece)
    return Score(columns.select(corpus.shards[shard].columns, [index]))
