"""Golden rows and hand-made requests as corpora and window batches."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.records import MaskedAs, TokenStatus, WindowBatch
from midigpt_core.score import Score
from midigpt_core.score.columns import in_memory_corpus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midigpt_core.records import Corpus, TokenBatch

GOLDENS = Path(__file__).parents[1] / "data" / "goldens"
PRESETS = ("expressive", "ghost", "prism", "yellow")

#: A window over two 4/4 bars of one track needs nothing else.
DEFAULTS: Mapping[str, Any] = {
    "piece": 0,
    "start": 0,
    "tracks": (0,),
    "fill": (),
    "mask": (),
    "window_bars": 0,
    "transpose": 0,
    "velocity_scale": None,
    "genre": -1,
    "use_velocity": -1,
    "use_microtiming": -1,
    "partial_track": -1,
    "partial_bars": -1,
    "span_masks": False,
    "remove_masked": False,
}


@cache
def goldens(name: str) -> list[dict[str, Any]]:
    with gzip.open(GOLDENS / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@cache
def preset(name: str) -> MidigptEncoder:
    return MidigptEncoder(EncoderConfig.from_preset(name))


def score_from(content: Mapping[str, Any]) -> Score:
    """A score object's score; its ``_nomml_raw`` attributes become the NOMML column."""
    score = Score.from_dict(content)
    raw = [track.get("attributes", {}).get("_nomml_raw", -1) for track in content["tracks"]]
    return attrs.evolve(score, columns=attrs.evolve(score.columns, track_nomml=np.array(raw, np.int8)))


def corpus_of(*contents: Mapping[str, Any]) -> Corpus:
    return in_memory_corpus([score_from(content) for content in contents])


def windows_of(requests: Sequence[Mapping[str, Any]], **batch: Any) -> WindowBatch:
    """One batch of the requests' windows, each with ``bars`` and what differs from DEFAULTS."""
    rows = [{**DEFAULTS, **request} for request in requests]
    count = len(rows)
    tracks = max((len(row["tracks"]) for row in rows), default=0)
    bars = max((row["bars"] for row in rows), default=0)
    track_table = np.full((count, tracks), -1, np.int32)
    cells = {"fill": np.zeros((count, tracks, bars), bool), "mask": np.zeros((count, tracks, bars), bool)}
    for index, row in enumerate(rows):
        track_table[index, : len(row["tracks"])] = row["tracks"]
        for name, array in cells.items():
            for track, bar in row[name]:
                array[index, track, bar] = True

    def column(name: str, dtype: type[np.generic]) -> Any:
        return np.array([row[name] for row in rows], dtype)

    scales = [np.nan if row["velocity_scale"] is None else row["velocity_scale"] for row in rows]
    masked_as = [
        MaskedAs.REMOVED if row["remove_masked"] else MaskedAs.SPAN if row["span_masks"] else MaskedAs.MASK_TOKEN
        for row in rows
    ]
    return WindowBatch(
        piece=column("piece", np.int64),
        start_bar=column("start", np.int32),
        num_bars=column("bars", np.int32),
        tracks=track_table,
        infill=cells["fill"],
        masked=cells["mask"],
        window_bars=column("window_bars", np.int32),
        transpose=column("transpose", np.int32),
        velocity_scale=np.array(scales, np.float64),
        genre=column("genre", np.int32),
        use_velocity=column("use_velocity", np.int8),
        use_microtiming=column("use_microtiming", np.int8),
        partial_track=column("partial_track", np.int32),
        partial_bars=column("partial_bars", np.int32),
        masked_as=np.array(masked_as, np.uint8),
        **batch,
    )


def encode(
    encoder: MidigptEncoder, corpus: Corpus, windows: WindowBatch, limits: int | Sequence[int] = 0
) -> TokenBatch:
    max_tokens = np.broadcast_to(np.asarray(limits, np.int32), len(windows))
    return encoder.encode_batch(corpus, windows, np.ascontiguousarray(max_tokens))


def documents(batch: TokenBatch) -> list[list[int]]:
    return [batch.tokens[begin:end].tolist() for begin, end in zip(batch.offsets, batch.offsets[1:], strict=False)]


def spans(batch: TokenBatch) -> list[list[list[int]]]:
    """Masked spans per document."""
    out: list[list[list[int]]] = [[] for _ in range(len(batch))]
    for document, begin, end in batch.masked_spans.tolist():
        out[document].append([begin, end])
    return out


def attributes_of(encoder: MidigptEncoder, values: Any, tracks: int, bars: int) -> list[dict[str, int]]:
    """Attribute values [T, 1+B, K] under the names of the score object, per track."""
    named = []
    for track in range(tracks):
        row = {}
        for index, (name, spelling) in enumerate(encoder.config.codebook.attributes):
            for place in range(1 + bars):
                value = int(values[track, place, index])
                if value >= 0:
                    row[name if place == 0 else f"bar_{spelling}_{place - 1}"] = value
        named.append(row)
    return named


def piece(tracks: int = 3, bars: int = 8, signature: tuple[int, int] = (4, 4)) -> dict[str, Any]:
    """Track ``t`` has ``t + 1`` quarter notes in every bar."""
    length = 4 * signature[0] / signature[1]
    notes = [[[b, 480 * n, 480, 60 + t, 90, 0] for b in range(bars) for n in range(t + 1)] for t in range(tracks)]
    rows = [{"program": 8 * t, "drum": False, "notes": notes[t]} for t in range(tracks)]
    return {"resolution": 480, "tempo": 500000, "bars": [[*signature, length]] * bars, "tracks": rows}


def status_of(batch: TokenBatch) -> list[TokenStatus]:
    return [TokenStatus(int(status)) for status in batch.status]


def same(a: TokenBatch, b: TokenBatch) -> bool:
    names = ("tokens", "offsets", "role", "status", "masked_spans")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def golden_batch() -> tuple[Corpus, WindowBatch]:
    """The golden scores and ghost's ar, fill and span windows over them."""
    files = [row["file"] for row in goldens("scores")]
    corpus = corpus_of(*(row["score"] for row in goldens("scores")))
    rows = [row for row in goldens("tokens") if row["encoder"] == "ghost" and row["mode"] in ("ar", "fill", "span")]
    requests = [{**row, **row["options"], "piece": files.index(row["file"])} for row in rows]
    return corpus, windows_of(requests)
