"""The baseline's training data set over some of the bench corpus."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
from midigpt import _core
from midigpt.augmentation.mask_bar import MaskBarConfig
from midigpt.tokenizer import Tokenizer
from midigpt.training import MidiGPTDataset

MAX_ROWS = 400


def open_dataset(pieces: str, encoder: str, step: int, min_tracks: int = 1) -> MidiGPTDataset:
    """Every ``step``-th piece of at least ``min_tracks`` tracks, with the settings that our stream has by default.

    Its index of valid rows is made here, or read from its cache.
    """
    config = _core.EncoderConfig.from_json(Path(encoder).read_text(encoding="utf-8"))
    path = Path(os.environ["MIDIGPT_CACHE"]) / f"{Path(pieces).stem}-{step}-{min_tracks}.parquet"
    if not path.exists():
        rows = pq.read_table(pieces)
        rows = rows.filter(pc.greater_equal(rows.column("num_tracks"), min_tracks))
        rows = rows.take(list(range(0, len(rows), step))[:MAX_ROWS])
        pq.write_table(rows, path)
    return MidiGPTDataset(
        str(path),
        Tokenizer(config),
        mask_bar_config=MaskBarConfig() if config.supports_mask_bar_token else None,
        max_seq_len=2048,
        max_tracks=4,
    )
