"""The stream with the bundled encoder and masks over real pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from midigpt_core._native import valid_windows
from midigpt_core.components import ComponentRef
from midigpt_core.data.settings import StreamSettings
from midigpt_core.data.stream import StreamSpec
from midigpt_core.score import Score
from midigpt_core.score.columns import in_memory_corpus
from support.windows import mask_ref, open_in_memory

MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
SETTINGS = StreamSettings(max_seq_len=1024)


@pytest.fixture(scope="module")
def corpus():
    return in_memory_corpus([Score.from_midi(path) for path in sorted(MIDI.glob("*.mid"))])


def stream_of(corpus, preset: str, mask_probability: float, **options: str):
    columns = corpus.shards[0].columns
    usable = [
        piece
        for piece in range(corpus.num_pieces)
        if any(valid_windows(columns, piece, bars, SETTINGS.min_fill_ratio, 1) for bars in SETTINGS.num_bars_choices)
    ]
    encoder = ComponentRef(
        kind="encoder",
        name="midigpt",
        target="midigpt_encoder.factory:build",
        options_class="midigpt_encoder.factory:EncoderOptions",
        options={"config": preset, **options},
    )
    settings = StreamSettings(max_seq_len=1024, mask_apply_probability=mask_probability)
    mask = mask_ref() if mask_probability else None
    return open_in_memory(
        corpus, StreamSpec(shards=(), pieces=np.array(usable), encoder=encoder, mask=mask, settings=settings)
    )


@pytest.mark.parametrize(("preset", "mask_probability"), [("yellow", 0.0), ("ghost", 0.5)])
def test_documents_are_whole_sentences_of_the_encoder(corpus, preset, mask_probability):
    stream = stream_of(corpus, preset, mask_probability)
    vocabulary = stream.encoder.vocabulary
    block = stream.block(0)
    batch, report = block.batch, block.report
    assert set(report.statuses) <= {"ok", "cut", "tracks_dropped", "too_long", "unsupported_signature"}
    assert report.padding <= 0.02 * (report.padding + report.tokens)

    types = np.array(vocabulary.type_names, dtype=object)[vocabulary.type_of[batch.input_ids]]
    inside = batch.document_ids >= 0
    starts = inside & (batch.position_ids == 0)
    assert starts.sum() == report.documents
    assert set(types[starts]) == {"PieceStart"}
    assert (types[inside & ~starts] != "PieceStart").all()
    # The documents of a row keep the order in which they were drawn, so the table leads to their first tokens.
    order = np.argsort(block.documents.row, kind="stable")
    size_tokens = vocabulary.value_of[batch.input_ids][inside & (types == "NumBars")]
    sizes = np.array(stream.encoder.window_sizes)[size_tokens]
    assert sizes.tolist() == block.documents.num_bars[order].tolist()

    masked = (types == "MaskBar") & inside
    documents = batch.row[:, None] * 1000 + batch.document_ids
    share = len(np.unique(documents[masked])) / report.documents
    assert share == 0 if mask_probability == 0 else 0.3 < share < 0.6
    with_infill = len(np.unique(documents[(types == "FillInStart") & inside])) / report.documents
    assert 0.65 < with_infill < 0.85
    assert ((batch.role == 1) & inside).any()
    assert ((batch.role == 0) & inside).any()


@pytest.mark.parametrize(("preset", "mask_probability"), [("yellow", 0.0), ("ghost", 0.5)])
def test_positions_go_into_the_rows_and_start_at_0_in_each_document(corpus, preset, mask_probability):
    """With the setting ``placeholder``; it changes nothing else of a row."""
    stream = stream_of(corpus, preset, mask_probability, infill_positions="placeholder")
    batch = stream.block(0).batch
    in_sequence = stream_of(corpus, preset, mask_probability).block(0).batch
    for name in ("input_ids", "labels", "document_ids", "role", "row"):
        assert np.array_equal(getattr(batch, name), getattr(in_sequence, name)), name
    blocks = 0
    for row in range(len(batch.row)):
        ids, documents = batch.input_ids[row], batch.document_ids[row]
        assert not batch.position_ids[row, documents < 0].any()
        for document in range(documents.max() + 1):
            tokens = ids[documents == document].astype(np.int32)
            positions = batch.position_ids[row, documents == document]
            assert np.array_equal(positions, stream.encoder.positions(tokens))
            assert np.array_equal(in_sequence.position_ids[row, documents == document], np.arange(len(tokens)))
            blocks += int((np.diff(positions) < 0).sum())
    assert blocks > 100
