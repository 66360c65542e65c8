"""Builds the input of figures on ready data: corpora of bench pieces and token streams over them, as in training."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core.contracts import EncoderContext
from midigpt_core.corpus.build import build as build_corpora
from midigpt_core.corpus.select import SelectionLimits, select
from midigpt_core.corpus.store import open_corpus
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.stream import StreamSpec
from midigpt_core.plugins import Selection, build, load_registry

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import Encoder
    from midigpt_core.corpus.store import OpenCorpus
    from midigpt_core.plugins import Registry
    from midigpt_core.records import Int64Array

PRESET = "yellow"


@frozen(eq=False, kw_only=True)
class Ready:
    """A corpus that can be trained on."""

    opened: OpenCorpus
    encoder_ref: ComponentRef
    mask_ref: ComponentRef
    encoder: Encoder
    #: Pieces that windows can be drawn from.
    pieces: Int64Array

    def stream_spec(self, settings: StreamSettings | None = None, pieces: Int64Array | None = None) -> StreamSpec:
        """The token stream with the defaults of training, mixed masks where the encoder can write them."""
        can_mask = "mask_bar" in self.encoder.provides
        default = StreamSettings(mask_apply_probability=0.5 if can_mask else 0.0)
        return StreamSpec(
            shards=self.opened.shard_paths,
            pieces=self.pieces if pieces is None else pieces,
            encoder=self.encoder_ref,
            mask=self.mask_ref if can_mask else None,
            settings=settings or default,
        )


@cache
def _registry() -> Registry:
    return load_registry(Selection())


def ready(shards: Sequence[Path], folder: Path, preset: str = PRESET) -> Ready:
    """The corpora of parquet shards, built if they are not there."""
    registry = _registry()
    encoder_ref = registry.resolve("encoder", {"name": "midigpt", "config": preset})
    encoder: Encoder = build(encoder_ref, EncoderContext())
    report = build_corpora(
        registry.resolve("source", "gigamidi"), [str(path) for path in shards], cache=folder / "cache"
    )
    opened = open_corpus(report.shards)
    limits = SelectionLimits(min_bars=4, min_tracks=1, window_sizes=(4, 8), min_fill_ratio=0.75)
    return Ready(
        opened=opened,
        encoder_ref=encoder_ref,
        mask_ref=registry.resolve("mask", "mixed"),
        encoder=encoder,
        pieces=select(opened, encoder, limits).pieces,
    )


def tracks_per_piece(opened: OpenCorpus) -> Int64Array:
    return np.concatenate([np.diff(shard.columns.track_offsets) for shard in opened.corpus.shards])


def notes_per_piece(opened: OpenCorpus) -> Int64Array:
    return np.concatenate([np.diff(shard.columns.note_offsets) for shard in opened.corpus.shards])
