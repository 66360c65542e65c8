"""Blocks: pure functions of (seed, index), fair, well filled, and every draw accounted for."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest
from scipy.stats import chi2_contingency, chisquare

from midigpt_core.data.blocks import ROWS_PER_BLOCK, Block
from midigpt_core.data.settings import StreamSettings
from midigpt_core.errors import ComponentError, ConfigError, DataError
from midigpt_core.records import PackedBatch
from support.windows import VOCABULARY, EchoEncoder, corpus_of, open_in_memory, random_pieces, spec_of

if TYPE_CHECKING:
    from midigpt_core.data.stream import TokenStream

PIECES = random_pieces(7, 120)
CORPUS = corpus_of(PIECES[:50], PIECES[50:])


def stream_of(mask: str | None = "mixed", *, settings: StreamSettings | None = None, **options: object) -> TokenStream:
    settings = settings or StreamSettings(max_seq_len=1024)
    return open_in_memory(CORPUS, spec_of(len(PIECES), settings, mask=mask, **options))


def assert_same(left: PackedBatch, right: PackedBatch) -> None:
    for name in attrs.fields_dict(PackedBatch):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def documents_in(block: Block) -> list[np.ndarray]:
    """Token runs by row and document id."""
    batch = block.batch
    return [
        batch.input_ids[row][batch.document_ids[row] == document]
        for row in range(len(batch.row))
        for document in range(batch.document_ids[row].max() + 1)
    ]


def test_a_block_is_a_function_of_its_index():
    one, other = stream_of(), stream_of()
    other.block(0)  # changes how many draws are encoded at once
    expected = one.block(5)
    assert_same(other.block(5).batch, expected.batch)
    assert other.block(5).report == expected.report
    assert one.block(4).batch.input_ids.tolist() != expected.batch.input_ids.tolist()


def test_seeds_give_different_streams():
    settings = StreamSettings(max_seq_len=1024)
    blocks = [stream_of(settings=attrs.evolve(settings, seed=seed)).block(0).batch.input_ids for seed in (0, 1, 2**63)]
    assert len({block.tobytes() for block in blocks}) == 3


def test_the_padding_of_a_draw_batch_does_not_show():
    """Draws encoded few at a time give the block that draws encoded together give."""
    together, few = stream_of(), stream_of()
    few._maker._mean_length = 40_000.0
    assert_same(few.block(2).batch, together.block(2).batch)


def test_rows_hold_whole_documents_and_know_their_pieces():
    stream = stream_of()
    block = stream.block(1)
    table = block.documents
    assert block.batch.row.tolist() == list(range(64, 128))
    assert len(documents_in(block)) == len(table.row) == block.report.documents
    assert sum(len(document) for document in documents_in(block)) == table.length.sum() == block.report.tokens
    for document in documents_in(block):
        assert (np.diff(document) % VOCABULARY == 1).all()  # the echo encoder's tokens count up

    row = 64 + int(table.row[0])
    named = stream.pieces_of_row(row)
    assert [piece.piece for piece in named] == table.piece[table.row == row - 64].tolist()
    first = named[0]
    shard, local = (0, first.piece) if first.piece < 50 else (1, first.piece - 50)
    last_bar = first.start_bar + first.num_bars - 1
    assert str(first) == f"shard{shard}.parquet, row {local * 10}, bars {first.start_bar} to {last_bar}"


def test_every_draw_is_counted_under_one_name():
    settings = StreamSettings(max_seq_len=512, min_tracks=3)
    report = stream_of(settings=settings, mean_length=350.0).block(0).report
    assert set(report.statuses) == {"ok", "too_long", "no_window"}
    assert sum(report.statuses.values()) == report.draws
    assert report.statuses["ok"] == report.documents
    assert report.tokens + report.padding == ROWS_PER_BLOCK * 512


def test_without_packing_a_row_is_one_document():
    settings = StreamSettings(max_seq_len=512, packing=False)
    block = stream_of(settings=settings).block(3)
    assert (block.batch.document_ids.max(axis=1) == 0).all()
    assert block.report.documents == len(documents_in(block)) == ROWS_PER_BLOCK
    assert sorted(block.documents.row.tolist()) == list(range(ROWS_PER_BLOCK))


def test_rows_are_full_and_every_length_has_its_chance():
    """Bounds of the design at 2048 tokens a row, for documents of log-normal length (mean about 400)."""
    settings = StreamSettings(max_seq_len=2048)
    stream = stream_of(settings=settings)
    blocks = [stream.block(index) for index in range(100)]
    tokens, padding = (sum(getattr(block.report, name) for block in blocks) for name in ("tokens", "padding"))
    assert padding / (tokens + padding) <= 0.01

    # Quartiles of draws that no packing has touched.
    unpacked = stream_of(settings=attrs.evolve(settings, packing=False, seed=99))
    drawn = np.concatenate([unpacked.block(index).documents.length for index in range(600)])
    packed = np.concatenate([block.documents.length for block in blocks])
    quartiles = np.quantile(drawn, [0.25, 0.5, 0.75])
    counts = [np.bincount(np.searchsorted(quartiles, lengths), minlength=4) for lengths in (drawn, packed)]
    assert chi2_contingency(counts).pvalue > 0.01


def test_pieces_are_drawn_evenly():
    stream = stream_of()
    drawn = Counter[int]()
    for index in range(40):
        documents = stream.block(index).documents
        drawn.update(documents.piece.tolist())
    assert chisquare([drawn[piece] for piece in range(len(PIECES))]).pvalue > 0.01


def test_a_corpus_that_gives_no_tokens_is_refused():
    with pytest.raises(DataError, match=r"none of \d+ windows drawn gave tokens \(too_long \d+\)\. Raise max_seq_len"):
        stream_of(settings=StreamSettings(max_seq_len=4)).block(0)


def test_no_pieces_or_foreign_pieces_are_refused():
    settings = StreamSettings()
    with pytest.raises(DataError, match="no piece to train on"):
        open_in_memory(CORPUS, spec_of(0, settings))
    with pytest.raises(DataError, match="another corpus"):
        open_in_memory(CORPUS, spec_of(121, settings))


class BadMask:
    def __init__(self, answer):
        self.answer = answer

    def mask(self, valid, infill, keys):
        return self.answer(valid, infill, keys)


def raise_on_wide_windows(valid, infill, keys):
    if valid[:, :, 4:].any():
        raise ZeroDivisionError("eight bars are too many")
    return np.zeros_like(valid)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (raise_on_wide_windows, "ZeroDivisionError: eight bars are too many"),
        (lambda valid, infill, keys: np.ones_like(valid), "marked cells (outside the window|that are to be filled in)"),
        (lambda valid, infill, keys: valid, "marked cells that are to be filled in, first track 0"),
        (lambda valid, infill, keys: valid[:1, :1], r"mask.* returned bool\[1, 1, 8\], not bool\["),
        (lambda valid, infill, keys: valid.astype(np.uint8), "mask.* returned uint8"),
        (lambda valid, infill, keys: None, "mask.* returned NoneType"),
    ],
)
def test_a_mask_that_fails_is_named_with_the_piece(answer, message):
    spec = spec_of(len(PIECES), StreamSettings(infill_bar_fraction=0.9))
    stream = open_in_memory(CORPUS, spec, mask=BadMask(answer))
    with pytest.raises(ComponentError, match=rf"^mask 'mixed' failed \(shard\d\.parquet, row \d+\): .*{message}"):
        stream.block(0)


def test_an_encoder_that_raises_is_named_with_the_piece():
    place = r"shard1\.parquet, row 130, bars \d+ to \d+"
    with pytest.raises(
        ComponentError, match=rf"^encoder 'echo' of test-parts 1.0 failed \({place}\): ArithmeticError"
    ) as caught:
        stream_of(raise_on=63).block(0)
    assert isinstance(caught.value.__cause__, ArithmeticError)


def test_foreign_tokens_are_named_with_the_piece():
    with pytest.raises(ComponentError, match=r"row 130, .*token id 5000 is outside the vocabulary of 5000"):
        stream_of(foreign_on=63).block(0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda batch: None, "a NoneType, not a TokenBatch"),
        (lambda batch: attrs.evolve(batch, tokens=batch.tokens.astype(np.int64)), "tokens that are not .* int32"),
        (lambda batch: attrs.evolve(batch, offsets=batch.offsets[:-1]), "do not fit together"),
        (lambda batch: attrs.evolve(batch, offsets=batch.offsets[::-1]), "offsets that do not run from 0"),
        (lambda batch: attrs.evolve(batch, status=np.full_like(batch.status, 3)), "contradict the status"),
        (lambda batch: attrs.evolve(batch, status=np.full_like(batch.status, 77)), "unknown status"),
        (lambda batch: attrs.evolve(batch, positions=batch.tokens * 0), "positions, with infill_positions 'sequence'"),
        (lambda batch: attrs.evolve(batch, positions=batch.tokens[1:]), "positions that are not one int32 for each"),
    ],
)
def test_token_batches_that_contradict_themselves_are_refused(spoil, message):
    stream = stream_of()
    honest = stream.encoder.encode_batch
    stream.encoder.encode_batch = lambda *arguments: spoil(honest(*arguments))
    with pytest.raises(ComponentError, match=message):
        stream.block(0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda positions: None, "no positions, with infill_positions 'placeholder'"),
        (lambda positions: positions + 1000, r"position \d+ is not in 0\.\.\d+"),
        (lambda positions: positions - 1, r"row \d+, .*position -1 is not in"),
        (lambda positions: positions.astype(np.int64), "positions that are not one int32 for each token"),
    ],
)
def test_positions_that_the_model_does_not_have_are_refused(monkeypatch, spoil, message):
    monkeypatch.setattr(EchoEncoder, "infill_positions", "placeholder")
    honest = EchoEncoder.encode_batch

    def encode_batch(encoder, *arguments):
        batch = honest(encoder, *arguments)
        places = np.arange(len(batch.tokens)) - np.repeat(batch.offsets[:-1], np.diff(batch.offsets))
        return attrs.evolve(batch, positions=spoil(places.astype(np.int32)))

    monkeypatch.setattr(EchoEncoder, "encode_batch", encode_batch)
    with pytest.raises(ComponentError, match=message):
        stream_of().block(0)


@pytest.mark.parametrize(
    ("change", "capability"),
    [
        ({"infill_probability": 0.5}, "infill"),
        ({"infill_track_probability": 0.5}, "infill"),
        ({"mask_apply_probability": 0.5}, "mask_bar"),
        ({"velocity_off_probability": 0.5}, "use_velocity"),
        ({"microtiming_off_probability": 0.5}, "use_microtiming"),
    ],
)
def test_what_the_encoder_cannot_do_is_refused(change, capability, monkeypatch):
    off = {"infill_probability": 0.0, "mask_apply_probability": 0.0}
    monkeypatch.setattr("support.windows.EchoEncoder.provides", frozenset({"infill"} - {capability}))
    with pytest.raises(ConfigError, match=f"{next(iter(change))} is above 0, .*{capability!r}"):
        stream_of(settings=StreamSettings(**{**off, **change}))


def test_hiding_needs_a_mask():
    with pytest.raises(ConfigError, match="no mask is chosen"):
        stream_of(mask=None)
