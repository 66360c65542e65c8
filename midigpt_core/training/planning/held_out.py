"""Holds out a share of the training pieces for evaluation, so that no music is on both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve

from midigpt_core import terminal
from midigpt_core.corpus.similar import corpus_keys
from midigpt_core.corpus.store import open_corpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.records import BoolArray, UInt64Array
    from midigpt_core.training.planning.corpora import Pieces

_log = terminal.logger("midigpt_core.training")


def hold_out(parts: Sequence[Pieces], share: float) -> tuple[list[Pieces], list[Pieces]]:
    """The pieces of each training set that stay, and the pieces that are held out of it.

    A piece is on one side or the other by its music alone: copies of a piece, transposed or played differently, are on
    the same side, and adding files to the data moves few. About ``share`` of the different pieces are held out, at
    least one; every set keeps some. If all pieces are the same music, nothing is held out.
    """
    keys = [corpus_keys(open_corpus(part.shards)).exact[part.valid] for part in parts]
    held = held_out_keys(np.unique(np.concatenate(keys)), share)
    for of_part in keys:
        # Every set keeps something to train on.
        if np.isin(of_part, held).all():
            held = np.setdiff1d(held, of_part)
    if not len(held):
        _log.warning("eval_share: the data is too little to hold anything out for evaluation. The run has none.")
        return list(parts), []
    masks = [np.isin(of_part, held) for of_part in keys]
    stay = [evolve(part, valid=part.valid[~mask]) for part, mask in zip(parts, masks, strict=True)]
    out = [evolve(part, valid=part.valid[mask]) for part, mask in zip(parts, masks, strict=True)]
    return stay, [part for part in out if len(part.valid)]


def held_out_keys(keys: UInt64Array, share: float) -> UInt64Array:
    """Which of the different ``keys``, uint64[n] ascending, are held out: those below a bound, which are about
    ``share`` of them as keys are hashes; at least one, and never all."""
    below: BoolArray = keys < np.uint64(int(share * 2**64))
    if not below.any():
        below[0] = True
    if below.all():
        below[-1] = False
    return keys[below]
