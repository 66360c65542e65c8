"""Copies of pieces in the training data: counted, left out if the run asks for it, and warned of in evaluation data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import evolve

from midigpt_core import terminal
from midigpt_core.corpus.duplicates import CopyKind, copies_among, shared_music
from midigpt_core.corpus.select import Verdict, by_verdict
from midigpt_core.corpus.similar import corpus_keys
from midigpt_core.corpus.store import open_corpus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.config.train import Deduplicate
    from midigpt_core.training.planning.corpora import Pieces

_log = terminal.logger("midigpt_core.training")

_LEFT_OUT: Mapping[Deduplicate, tuple[CopyKind, ...]] = {
    "none": (),
    "exact": (CopyKind.EXACT,),
    "near": (CopyKind.EXACT, CopyKind.NEAR),
}
_VERDICTS = {CopyKind.EXACT: Verdict.EXACT_COPY, CopyKind.NEAR: Verdict.NEAR_COPY}


def without_copies(part: Pieces, deduplicate: Deduplicate) -> Pieces:
    """The pieces of a training set with their copies counted, and without those that ``deduplicate`` leaves out.

    Of a group of copies one stays (:mod:`midigpt_core.corpus.duplicates`), so a set never becomes empty.
    """
    kinds = copies_among(open_corpus(part.shards), part.valid)
    copies = {kind: int(np.count_nonzero(kinds == kind.value)) for kind in _VERDICTS}
    left_out = {_VERDICTS[kind].name.lower(): copies[kind] for kind in _LEFT_OUT[deduplicate] if copies[kind]}
    valid = Verdict.VALID.name.lower()
    counts = {**part.selection, valid: part.selection[valid] - sum(left_out.values()), **left_out}
    return evolve(
        part,
        valid=part.valid[~np.isin(kinds, _LEFT_OUT[deduplicate])] if left_out else part.valid,
        selection=by_verdict(counts),
        copies={kind.name.lower(): count for kind, count in copies.items()},
    )


def warn_of_leakage(training: Pieces, evaluation: Pieces, *, held_out: bool) -> None:
    """Log a warning with figures if pieces to evaluate on are copies of pieces to train on.

    ``held_out``: whether both are parts of one set.
    """
    evaluated = corpus_keys(open_corpus(evaluation.shards)).of_pieces(evaluation.valid)
    trained = corpus_keys(open_corpus(training.shards)).of_pieces(training.valid)
    shared = shared_music(evaluated, trained)
    if not shared.same + shared.similar:
        return
    _log.warning(
        "%s of %s evaluation pieces are also in the training data, whatever their key, tempo, instruments or order of "
        "tracks: %s note for note, %s in most of their bars. Evaluation losses are too low for new music. %s.",
        f"{shared.same + shared.similar:,}", f"{len(evaluation.valid):,}", f"{shared.same:,}", f"{shared.similar:,}",
        "--deduplicate near leaves copies out" if held_out else "Take these pieces out of one of the two",
    )  # fmt: skip
