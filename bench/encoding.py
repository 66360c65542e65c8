"""Windows to tokens, with resampling and attributes (yellow)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from midigpt_encoder.encoder import MidigptEncoder

from bench import corpus
from bench.built import PRESET, ready
from bench.measure import one_thread, take_turns, wall
from bench.rows import BASELINE, Row, ratio_at_least
from bench.twins import Twins
from midigpt_core.data.mixing import PieceDrawer
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.windows import WindowDrawer
from midigpt_core.keys import Stage, derive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.built import Ready
    from bench.session import Session

_WINDOWS = 8192
#: Windows of one call: about a block's.
_CALL = 512
_BASELINE_STEP = 40
_MAX_TOKENS = 1 << 20


def encoding(data: Ready, threads: int, call: int = _CALL) -> Callable[[], float]:
    """A function that encodes the same windows each time, ``call`` at a time, and returns how many tokens they are."""
    assert isinstance(data.encoder, MidigptEncoder)
    # Plain windows, as the baseline's select_window draws them: no infill, nothing masked, no augmentation.
    drawer = WindowDrawer(data.opened.corpus, data.encoder, None, StreamSettings().evaluation())
    drawer_of_pieces = PieceDrawer(data.pieces)
    batches = []
    for first in range(0, _WINDOWS, call):
        keys = derive(1, Stage.DRAW, np.arange(first, first + call))
        pieces = drawer_of_pieces.draw(keys)
        data.opened.verify(pieces)
        batches.append(drawer.draw(keys, pieces).windows)
    encoder = MidigptEncoder(data.encoder.config, threads)

    def encode() -> float:
        tokens = 0
        for windows in batches:
            limit = np.full(len(windows), _MAX_TOKENS, np.int32)
            tokens += len(encoder.encode_batch(data.opened.corpus, windows, limit).tokens)
        return tokens

    return encode


def rows(session: Session) -> Iterator[Row]:
    shard = corpus.pieces_path(session.folder)
    data = ready([shard], session.folder)
    on_one, whole, on_two = encoding(data, 1), encoding(data, 1, _WINDOWS), encoding(data, 2, _WINDOWS)
    with (
        session.baseline("encoding.py", shard, session.preset(PRESET), _BASELINE_STEP, "whole") as baseline,
        session.baseline("encoding.py", shard, session.preset(PRESET), _BASELINE_STEP, "bare") as bare,
    ):
        one = take_turns({"ours": one_thread(on_one), "baseline": baseline, "bare": bare}, session.repeats)
    whole()
    with Twins(whole) as twins:
        threads = take_turns({"two": wall(on_two), "one": wall(whole), "twins": twins}, session.repeats)
    windows = f"{_WINDOWS} windows of 4 or 8 bars and up to 4 tracks of the bench corpus, in batches of {_CALL}"
    yield Row.of(
        "windows to tokens with resampling and attributes",
        "tokens/s",
        one["ours"],
        one.get("baseline"),
        against=BASELINE,
        required=ratio_at_least(60),
        how=f"{windows}; the baseline's Tokenizer.encode on windows of every {_BASELINE_STEP}th piece",
    )
    yield Row.of(
        "windows to tokens, compared with the baseline's C++ alone",
        "tokens/s",
        one["ours"],
        one.get("bare"),
        against=f"{BASELINE}, bare Encoder.encode",
        required=ratio_at_least(2),
        how="ours as above; the baseline's C++ call alone, windows resampled and converted before, without attributes",
    )
    yield Row.of(
        "windows to tokens, two threads",
        "tokens/s",
        threads["two"],
        threads["one"],
        against="one thread",
        required=ratio_at_least(1.8),
        how=f"the encoder's own threads; {_WINDOWS} windows in one call; seconds on the clock",
    )
    yield Row.of(
        "windows to tokens, two processes",
        "tokens/s",
        threads["twins"],
        threads["one"],
        against="one process",
        how="as above, but two processes that share nothing: what the two cores give at most",
    )
