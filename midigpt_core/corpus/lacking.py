"""What an encoder can be told of a piece and no piece of a corpus has: styles, and NOMML levels of tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core import terminal

if TYPE_CHECKING:
    from midigpt_core.contracts import Encoder
    from midigpt_core.corpus.store import OpenCorpus

_log = terminal.logger(__name__)


def warn_of_lacking(opened: OpenCorpus, encoder: Encoder, *, genres: bool = True) -> None:
    """Log a warning for genre tokens (if ``genres``) and for NOMML tokens of ``encoder`` that no piece can fill."""
    if genres and "genre" in encoder.provides and not _has_styles(opened):
        _log.warning(
            "The encoder has genre tokens, but no piece of the data has a style name, so the model cannot learn them. "
            "Use data with styles, or an encoder without genres."
        )
    if "nomml" in encoder.provides and not _has_nomml(opened):
        _log.warning(
            "The encoder has NOMML tokens, but no track of the data has a NOMML level, so the model cannot learn them. "
            "Use data with the column NOMML, or an encoder without it."
        )


def _has_styles(opened: OpenCorpus) -> bool:
    for file in opened.files:
        file.verify_index()
        if file.shard.pieces.genre_offsets[-1] > 0:
            return True
    return False


def _has_nomml(opened: OpenCorpus) -> bool:
    for file in opened.files:
        file.verify_columns(["track_nomml"])
        if (file.shard.columns.track_nomml >= 0).any():
            return True
    return False
