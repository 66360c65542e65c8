"""What docs/encoder-specification.md says of unusual vocabularies and requests, section by section."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from midigpt_encoder.factory import EncoderOptions, build

from midigpt_core.contracts import EncoderContext
from midigpt_core.encoding.encode_one import part_of, window_of
from midigpt_core.records import MaskedAs, TokenBatch, TokenStatus
from midigpt_core.score import Score
from midigpt_core.score.columns import in_memory_corpus

SIZES = {
    "PieceStart": 2, "Track": 2, "TrackEnd": 1, "Bar": 1, "BarEnd": 1, "TimeSig": 3, "NoteOnset": 128,
    "NoteDuration": 8, "FillInPlaceholder": 1, "FillInStart": 1, "FillInEnd": 1,
}  # fmt: skip
NOTE = [0, 0, 480, 60, 100, 0]


def encoder(sizes: dict[str, int], **fields: Any) -> Any:
    domains = [{"type": name, "domain_size": size} for name, size in sizes.items()]
    return build(EncoderOptions(config={"token_domains": domains, **fields}), EncoderContext())


def encode(built: Any, *notes: list[int], infill: Any = (), masked: Any = (), **fields: Any) -> TokenBatch:
    """Two bars of 4/4 with ``notes``; the numbers of bars to fill in and of masked ones."""
    track = {"program": 0, "drum": False, "notes": list(notes)}
    score = Score.from_dict({"resolution": 480, "tempo": 1, "bars": [[4, 4, 4.0]] * 2, "tracks": [track]})
    windows = window_of(part_of(score, infill=[(0, bar) for bar in infill]))
    windows.masked[0, 0, list(masked)] = True
    corpus = in_memory_corpus([score])
    result: TokenBatch = built.encode_batch(corpus, attrs.evolve(windows, **fields), np.zeros(1, np.int32))
    return result


def names(built: Any, batch: TokenBatch) -> list[str]:
    return [built.vocabulary.name(token) for token in batch.tokens]


def test_without_a_list_every_signature_is_value_0() -> None:  # B.5
    built = encoder(SIZES)
    assert names(built, encode(built, NOTE)).count("TimeSig(0)") == 2


def test_infill_is_refused_by_the_setting_not_the_vocabulary() -> None:  # C.1
    assert encode(encoder(SIZES), NOTE, infill=[1]).status[0] == TokenStatus.UNSUPPORTED_VALUE
    assert encode(encoder(SIZES, supports_infill=True), NOTE, infill=[1]).status[0] == TokenStatus.OK


def test_a_bar_to_fill_in_without_a_placeholder_is_empty() -> None:  # C.4 rule 6
    sizes = {name: size for name, size in SIZES.items() if name != "FillInPlaceholder"}
    built = encoder(sizes, supports_infill=True)
    written = names(built, encode(built, NOTE, infill=[0]))
    assert written[2:5] == ["Bar(0)", "TimeSig(0)", "BarEnd(0)"]
    assert written[-4:] == ["FillInStart(0)", "NoteOnset(60)", "NoteDuration(7)", "FillInEnd(0)"]


def test_a_masked_span_holds_bar_and_bar_end() -> None:  # C.4 rule 3
    built = encoder(SIZES)
    batch = encode(built, NOTE, masked=[1], masked_as=np.array([MaskedAs.SPAN], np.uint8))
    ((document, begin, end),) = batch.masked_spans.tolist()
    assert document == 0
    assert names(built, batch)[begin:end] == ["Bar(0)", "TimeSig(0)", "BarEnd(0)"]


def test_a_direction_needs_no_delta() -> None:  # C.5
    early = [0, 480, 480, 60, 100, -17]
    deltas = {"Delta": 9}
    for sizes, expected in (
        ({"DeltaDirection": 2}, ["DeltaDirection(0)"]),
        (deltas, []),
        (deltas | {"DeltaDirection": 2}, ["DeltaDirection(0)", "Delta(8)"]),
    ):
        built = encoder(SIZES | sizes, emit_delta_tokens=True)
        assert [name for name in names(built, encode(built, early)) if name.startswith("Delta")] == expected


def test_a_block_that_starts_in_a_block_is_one_of_its_own() -> None:  # F.1
    built = encoder(SIZES, supports_infill=True)
    ids = {built.vocabulary.name(token): token for token in range(built.vocab_size)}
    bar = ["Bar(0)", "FillInPlaceholder(0)", "BarEnd(0)"]
    fills = ["FillInStart(0)", "NoteOnset(60)", "NoteDuration(3)", "FillInStart(0)", "NoteOnset(64)", "NoteDuration(3)"]
    document = ["Track(0)", *bar, *bar, "TrackEnd(0)", *fills, "FillInEnd(0)"]
    (track,) = built.decode(np.array([ids[name] for name in document], np.int32)).tracks
    assert [bar.notes.pitch.tolist() for bar in track.bars] == [[60, 64], [64]]
