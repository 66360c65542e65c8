"""Turns the paths of a run into pieces that it can train on."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import Factory, frozen

from midigpt_core.corpus.build import build
from midigpt_core.corpus.select import SelectionLimits, require_nonempty, select
from midigpt_core.corpus.store import open_corpus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Encoder
    from midigpt_core.corpus.build import BuildProgress
    from midigpt_core.data.settings import StreamSettings
    from midigpt_core.records import Int64Array

    #: One path, several paths, or a glob.
    Paths: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
    Progress: TypeAlias = Callable[[BuildProgress], None]


# Of a shard's name, as far as it is the same for all shards of a data set.
_ADDRESS = re.compile(r"[a-z]+://[^@]+@[0-9a-f]+(?=/)")


@frozen(eq=False, kw_only=True)
class Pieces:
    """The pieces of a corpus that fit an encoder and its limits."""

    shards: tuple[Path, ...]
    #: Names of the shards for messages, in the user's own spelling.
    sources: tuple[str, ...]
    #: How many pieces the shards hold, including those that do not fit.
    corpus_pieces: int
    #: Piece indices, ascending.
    valid: Int64Array
    fingerprint: str
    #: Rows of the source by outcome, examples of rows left out, and pieces of the corpus by outcome of the selection.
    rows: Mapping[str, int]
    examples: Mapping[str, Sequence[str]]
    selection: Mapping[str, int]
    #: How many of the pieces that fit are copies of others, by kind (``"exact"``, ``"near"``), whether or not they were
    #: left out; empty: they were not counted.
    copies: Mapping[str, int] = Factory(dict)
    #: Data sets that were fetched, each address with its commit (``hf://datasets/OWNER/NAME@COMMIT``), sorted.
    data_sets: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {
            "shards": [str(shard) for shard in self.shards],
            "fingerprint": self.fingerprint,
            "rows": dict(self.rows),
            "examples": {reason: list(rows) for reason, rows in self.examples.items()},
            "selection": dict(self.selection),
            "pieces": len(self.valid),
            **({"copies": dict(self.copies)} if self.copies else {}),
            **({"data_sets": list(self.data_sets)} if self.data_sets else {}),
        }


def listed(paths: Paths) -> tuple[str, ...]:
    """The paths as a tuple of strings; the source expands globs and folders."""
    several = [paths] if isinstance(paths, str | os.PathLike) else paths
    return tuple(os.fspath(path) for path in several)


def gather(
    paths: Paths,
    source: ComponentRef,
    encoder: Encoder,
    settings: StreamSettings,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Pieces:
    """Build the corpus of ``paths`` if it does not exist yet, and select the pieces that fit.

    ``progress`` is called during the build. Raises :class:`midigpt_core.errors.DataError` with files and reasons if no
    piece is left.
    """
    report = build(source, listed(paths), workers=workers, progress=progress)
    opened = open_corpus(report.shards, report.sources)
    limits = SelectionLimits(
        min_bars=min(settings.num_bars_choices),
        min_tracks=settings.min_tracks,
        window_sizes=settings.num_bars_choices,
        min_fill_ratio=settings.min_fill_ratio,
    )
    chosen = select(opened, encoder, limits)
    require_nonempty(chosen, opened, limits, has_min_bars=False)
    return Pieces(
        shards=tuple(opened.shard_paths),
        sources=tuple(report.sources),
        corpus_pieces=opened.corpus.num_pieces,
        valid=chosen.pieces,
        fingerprint=opened.fingerprint,
        rows=report.counts,
        examples=report.examples,
        selection=chosen.counts,
        data_sets=tuple(sorted({found[0] for file in opened.files if (found := _ADDRESS.match(file.sidecar.source))})),
    )
