"""Positions of fill blocks: the same in encoding, in generation and for a document on its own (docs/infilling.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder
from midigpt_encoder.factory import EncoderOptions, build

from midigpt_core.contracts import EncoderContext
from midigpt_core.errors import ConfigError, EncodingError
from midigpt_core.records import PLACEHOLDER, SEQUENCE, GrammarRequest, MaskedAs
from midigpt_core.score import Score
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.score.editing import replace_cells
from midigpt_core.testing.music import windows
from support.encoder import PRESETS, preset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.records import Int32Array, TokenBatch, WindowBatch

TRACKS, BARS = 3, 8


def numbered(name: str) -> MidigptEncoder:
    return MidigptEncoder(preset(name).config.with_placeholder_positions())


def expected_positions(encoder: MidigptEncoder, document: Sequence[int]) -> list[int]:
    """The rule as docs/infilling.md states it, read off the token names."""
    names = [encoder.vocabulary.name(token).partition("(")[0] for token in document]
    placeholders = [place for place, name in enumerate(names) if name == "FillInPlaceholder"]
    positions = list(range(len(names)))
    starts = [place for place, name in enumerate(names) if name == "FillInStart"]
    for start, placeholder in zip(starts, placeholders, strict=True):
        end = names.index("FillInEnd", start)
        positions[start : end + 1] = range(placeholder, placeholder + end + 1 - start)
    return positions


def random_windows(rng: np.random.Generator, count: int) -> tuple[list[Score], WindowBatch]:
    """Pieces of random notes, each a window with several bars to fill in and some that are masked."""
    scores = []
    for _ in range(count):
        tracks = [
            {
                "program": int(rng.integers(128)),
                "drum": track == 2,
                "notes": [
                    [bar, int(onset) * 120, 120, int(rng.integers(128)), int(rng.integers(1, 128)), 0]
                    for bar in range(BARS)
                    for onset in np.flatnonzero(rng.random(16) < 0.3)
                ],
            }
            for track in range(TRACKS)
        ]
        bars = [[4, 4, 4.0]] * BARS
        scores.append(Score.from_dict({"resolution": 480, "tempo": 500_000, "bars": bars, "tracks": tracks}))
    cells = rng.random((count, TRACKS, BARS)) < 0.3
    cells[:, 0, 5] = cells[:, 2, 1] = True
    batch = attrs.evolve(
        windows(range(count), BARS, TRACKS),
        infill=cells,
        masked=(rng.random(cells.shape) < 0.15) & ~cells,
        masked_as=rng.choice([MaskedAs.MASK_TOKEN, MaskedAs.SPAN, MaskedAs.REMOVED], count).astype(np.uint8),
    )
    return scores, batch


def documents(batch: TokenBatch, column: Int32Array) -> list[Int32Array]:
    return np.split(column, batch.offsets[1:-1])


def generated_positions(encoder: MidigptEncoder, scores: list[Score], asked: WindowBatch, whole: TokenBatch) -> list:
    """What the grammar says where it is led to write the documents ``whole``: by document, its places and positions."""
    count = len(scores)
    blank = [replace_cells(score, cells) for score, cells in zip(scores, asked.infill, strict=True)]
    levels = encoder.compute_attributes(in_memory_corpus(scores), asked)
    as_it_was = attrs.evolve(asked, attribute_values=levels, compute_attributes=False)
    nothing = np.zeros(count, np.int32)
    grammar = encoder.grammar()
    grammar.start(
        encoder.encode_batch(in_memory_corpus(blank), as_it_was, nothing),
        GrammarRequest(
            cells=asked.infill,
            choose_attributes=np.zeros(count, bool),
            max_tokens=nothing,
            max_notes=nothing,
            max_polyphony=nothing,
        ),
    )
    wanted = documents(whole, whole.tokens)
    taken: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    while True:
        tokens, positions, offsets = grammar.take()
        for row in range(count):
            run = slice(int(offsets[row]), int(offsets[row + 1]))
            taken[row] += zip(tokens[run].tolist(), positions[run].tolist(), strict=True)
        finished = grammar.finished()
        if finished.all():
            break
        choices = [0 if finished[row] else int(wanted[row][len(grammar.document(row))]) for row in range(count)]
        grammar.advance(np.array(choices, np.int32))
    for row in range(count):
        written = grammar.document(row)
        assert np.array_equal(written, wanted[row][: len(written)])
    return taken


@pytest.mark.parametrize("name", PRESETS)
def test_training_and_generation_number_a_document_alike(name: str) -> None:
    encoder, in_sequence = numbered(name), preset(name)
    rng = np.random.default_rng(11)
    blocks = 0
    for _ in range(4):
        scores, asked = random_windows(rng, 6)
        batch = encoder.encode_batch(in_memory_corpus(scores), asked, np.zeros(6, np.int32))
        assert batch.positions is not None
        assert (batch.status == 0).all()
        same = in_sequence.encode_batch(in_memory_corpus(scores), asked, np.zeros(6, np.int32))
        assert np.array_equal(batch.tokens, same.tokens), "the setting changes no token"
        assert same.positions is None
        masked: list[set[int]] = [set() for _ in range(6)]
        for document, first, end in batch.masked_spans.tolist():
            masked[document].update(range(first, end))
        taken = generated_positions(encoder, scores, asked, batch)
        for row, (document, given) in enumerate(
            zip(documents(batch, batch.tokens), documents(batch, batch.positions), strict=True)
        ):
            expected = expected_positions(encoder, document.tolist())
            assert given.tolist() == expected
            assert (given <= np.arange(len(document))).all(), "no position is above the token's place"
            alone = encoder.positions(document)
            assert alone is not None
            assert alone.tolist() == expected
            seen = [place for place in range(len(document)) if place not in masked[row]][: len(taken[row])]
            assert taken[row] == [(int(document[place]), expected[place]) for place in seen]
            blocks += int(asked.infill[row].sum())
    assert blocks > 24 * 3, "several blocks a document"


def test_without_bars_to_fill_in_positions_are_places() -> None:
    encoder = numbered("yellow")
    scores, asked = random_windows(np.random.default_rng(3), 3)
    plain = attrs.evolve(asked, infill=np.zeros_like(asked.infill))
    batch = encoder.encode_batch(in_memory_corpus(scores), plain, np.zeros(3, np.int32))
    assert batch.positions is not None
    for positions in documents(batch, batch.positions):
        assert positions.tolist() == list(range(len(positions)))


def test_positions_do_not_depend_on_threads() -> None:
    scores, asked = random_windows(np.random.default_rng(5), 140)
    one, four = (
        MidigptEncoder(numbered("yellow").config, threads=threads).encode_batch(
            in_memory_corpus(scores), asked, np.full(140, 480, np.int32)
        )
        for threads in (1, 4)
    )
    assert one.positions is not None
    assert four.positions is not None
    assert np.array_equal(one.positions, four.positions)
    assert len(one.positions) == len(one.tokens)
    assert {1, 2, 3} & set(one.status.tolist()), "some documents are cut or thrown away, and positions with them"
    expected = [expected_positions(numbered("yellow"), document) for document in documents(one, one.tokens)]
    assert np.array_equal(one.positions, np.concatenate(expected))


def test_a_prompt_is_numbered_as_far_as_it_goes() -> None:
    encoder = numbered("yellow")
    scores, asked = random_windows(np.random.default_rng(7), 1)
    document = encoder.encode_batch(in_memory_corpus(scores), asked, np.zeros(1, np.int32)).tokens
    whole = encoder.positions(document)
    assert whole is not None
    for length in range(len(document)):
        part = encoder.positions(document[:length])
        assert part is not None
        assert np.array_equal(part, whole[:length])


def test_a_foreign_token_has_no_position() -> None:
    encoder = numbered("yellow")
    for foreign in (-1, encoder.vocab_size):
        with pytest.raises(EncodingError, match="token 1 is outside the vocabulary"):
            encoder.positions(np.array([0, foreign], np.int32))


@pytest.mark.parametrize("name", PRESETS)
def test_the_configuration_says_so_only_where_it_is_so(name: str) -> None:
    """The encoder of a model in sequence is the public package's, key by key."""
    config = preset(name).config
    assert preset(name).infill_positions == SEQUENCE
    assert "infill_positions" not in config.to_dict()
    said = EncoderConfig.from_mapping({**config.to_dict(), "infill_positions": SEQUENCE})
    assert said.to_dict() == config.to_dict()
    other = config.with_placeholder_positions()
    assert other.to_dict() == {**config.to_dict(), "infill_positions": PLACEHOLDER}
    again = EncoderConfig.from_mapping(other.to_dict())
    assert again.to_dict() == other.to_dict()
    assert MidigptEncoder(again).infill_positions == PLACEHOLDER


def test_the_option_fills_in_what_the_configuration_does_not_say() -> None:
    def made(**options: str | dict[str, str]) -> str:
        return build(EncoderOptions(**options), EncoderContext()).infill_positions

    yellow = preset("yellow").config.to_dict()
    assert made(config="yellow") == SEQUENCE
    assert made(config="yellow", infill_positions=PLACEHOLDER) == PLACEHOLDER
    assert made(config={**yellow, "infill_positions": SEQUENCE}, infill_positions=PLACEHOLDER) == SEQUENCE
    assert made(config={**yellow, "infill_positions": PLACEHOLDER}, infill_positions=SEQUENCE) == PLACEHOLDER


def test_what_cannot_be_is_refused_by_name() -> None:
    yellow = preset("yellow").config.to_dict()
    with pytest.raises(ConfigError, match=r"infill_positions: no way to number filled bars named 'placeholders'.*mean"):
        EncoderConfig.from_mapping({**yellow, "infill_positions": "placeholders"})
    with pytest.raises(ConfigError, match=r"infill_positions: .*null|None is not a string"):
        EncoderConfig.from_mapping({**yellow, "infill_positions": None})
    bare = EncoderConfig()
    assert "placeholder_positions" not in MidigptEncoder(bare).provides
    with pytest.raises(ConfigError, match="infill_positions: placeholder positions need the FillIn tokens"):
        bare.with_placeholder_positions()
    with pytest.raises(ConfigError, match="infill_positions: placeholder positions need the FillIn tokens"):
        EncoderConfig.from_mapping({"infill_positions": PLACEHOLDER})
