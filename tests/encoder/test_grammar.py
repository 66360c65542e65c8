"""What a grammar lets through is what the encoder could have written: held against rules that are written out here.

Random logits try everything that is allowed. The rules are those of docs/encoder-specification.md, C.2 to C.5 and F.5,
read off the token names; the code under test is not used to check itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.errors import ConfigError, EncodingError
from midigpt_core.plugins.attributes import find_attribute
from support.encoder import PRESETS, goldens, preset
from support.grammar import ATTRIBUTES, bars_of, case, complaint, named, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from support.grammar import Case


def check(case: Case, rng: np.random.Generator) -> int:
    """Write and check all documents; how many."""
    for row, document in enumerate(write(case, rng)):
        assert not case.request.max_tokens[row] or len(document) <= case.request.max_tokens[row]
        written, rest = bars_of(case, row, document)
        assert len(written) == case.request.cells[row].sum()
        for bar in written:
            problem = complaint(case, row, bar)
            assert not problem, (problem, bar)
        prompt = case.prompts.tokens[case.prompts.offsets[row] : case.prompts.offsets[row + 1]]
        _, expected = bars_of(case, row, prompt)
        assert rest == expected[: len(rest)], "something else than the bars asked for was written"
        decoded = case.encoder.decode(np.array(document, np.int32))
        notes = sum(len(bar.notes) for track in decoded.tracks for bar in track.bars)
        assert notes >= sum(name == "NoteDuration" for bar in written for name, _ in bar.body)
    return len(case.prompts)


@pytest.mark.parametrize("infill", [True, False])
@pytest.mark.parametrize("name", PRESETS)
def test_random_logits_write_only_what_the_encoder_could_have_written(name: str, infill: bool) -> None:
    rng = np.random.default_rng(7)
    assert check(case(preset(name), rng, 100, infill=infill), rng) == 100
    limits = {"max_tokens": 420, "max_notes": 5, "max_polyphony": 2}
    check(case(preset(name), rng, 40, infill=infill, **limits), rng)


@pytest.mark.parametrize("infill", [True, False])
@pytest.mark.parametrize("name", PRESETS)
def test_attributes_of_plugins_are_written_like_those_of_the_encoder(name: str, infill: bool) -> None:
    rng = np.random.default_rng(11)
    found = [find_attribute(f"attributes/{name}") for name in ("syncopation", "chroma-entropy")]
    encoder = MidigptEncoder(EncoderConfig.from_preset(name).with_attributes(found))
    made = case(encoder, rng, 60, infill=infill)
    assert check(made, rng) == 60
    if not infill:
        # Where the prompt leaves a level out, the grammar has the model choose one.
        documents = [[one for one, _ in named(encoder, document)] for document in write(made, rng)]
        bars = [document.count("Bar") for document in documents]
        assert sum(document.count("attributes/syncopation") for document in documents) > sum(bars) / 2


@pytest.mark.slow
@pytest.mark.parametrize("infill", [True, False])
@pytest.mark.parametrize("name", PRESETS)
def test_a_hundred_thousand_sequences(name: str, infill: bool) -> None:
    """12,500 sequences for each preset and mode."""
    rng = np.random.default_rng(8)
    limits: Sequence[dict[str, int]] = ({}, {"max_notes": 6}, {"max_polyphony": 3}, {"max_tokens": 500})
    assert sum(check(case(preset(name), rng, 125, infill=infill, **limits[i % 4]), rng) for i in range(100)) == 12500


def configurations() -> Iterator[MidigptEncoder]:
    """Encoders of the random configurations of the goldens that can write the score of these tests."""
    for row in goldens("synthetic"):
        try:
            yield MidigptEncoder(EncoderConfig.from_mapping(row["config"]))
        except ConfigError:
            continue


def test_random_configurations() -> None:
    rng = np.random.default_rng(9)
    checked = 0
    for encoder in configurations():
        for infill in (True, False):
            if infill and "infill" not in encoder.provides:
                continue
            made = case(encoder, rng, 3, infill=infill, max_tokens=2000, max_notes=30)
            if made.prompts.status.any():  # it has no token for something in the score
                continue
            if {"Track", "Bar", "BarEnd", "NoteOnset"} <= set(dict(encoder.config.codebook.domains)):
                checked += check(made, rng)
    assert checked > 100


def test_a_document_that_has_no_room_is_refused() -> None:
    rng = np.random.default_rng(1)
    made = case(preset("yellow"), rng, 2, infill=True)
    grammar = made.encoder.grammar()
    with pytest.raises(EncodingError, match=r"document 0: the prompt alone has \d+ tokens, 5 are allowed"):
        grammar.start(made.prompts, attrs.evolve(made.request, max_tokens=np.full(2, 5, np.int32)))
    nothing = np.zeros_like(made.request.cells)
    with pytest.raises(EncodingError, match="0 bars are to be written, the prompt has room for"):
        grammar.start(made.prompts, attrs.evolve(made.request, cells=nothing))


def test_a_token_that_may_not_come_is_refused_and_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    made = case(preset("yellow"), rng, 1, infill=True)
    grammar = made.encoder.grammar()
    grammar.start(made.prompts, made.request)
    before = grammar.document(0)
    for token in (0, -1, made.encoder.vocab_size):  # PieceStart and no tokens at all
        with pytest.raises(ValueError, match="may not come next"):
            grammar.advance(np.array([token], np.int32))
    assert np.array_equal(grammar.document(0), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": np.zeros((2, 3, 4), np.int8)}, "cells must be a NumPy array"),
        ({"max_tokens": np.zeros(3, np.int32)}, "max_tokens has another shape"),
        ({"max_notes": np.zeros(2, np.int64)}, "max_notes must be a NumPy array"),
        ({"max_tokens": np.array([0, -1], np.int32)}, "document 1: max_tokens is -1, it must be at least 0"),
        ({"max_notes": np.array([-1, 0], np.int32)}, "document 0: max_notes is -1, it must be at least 0"),
        ({"max_polyphony": np.array([0, -1], np.int32)}, "document 1: max_polyphony is -1, it must be at least 0"),
        ({"max_polyphony": np.full(2, -(2**31), np.int32)}, "document 0: max_polyphony is -2147483648"),
    ],
)
def test_wrong_callers_are_told(change: dict[str, Any], message: str) -> None:
    made = case(preset("yellow"), np.random.default_rng(1), 2, infill=True)
    with pytest.raises((TypeError, EncodingError), match=message):
        made.encoder.grammar().start(made.prompts, attrs.evolve(made.request, **change))


def test_forced_attributes_and_signatures_stand_in_the_document() -> None:
    encoder = preset("prism")
    rng = np.random.default_rng(2)
    made = case(encoder, rng, 20, infill=False)
    for row, document in enumerate(write(made, rng)):
        prompt = made.prompts.tokens[made.prompts.offsets[row] : made.prompts.offsets[row + 1]]
        given = [token for token in named(encoder, prompt) if token[0] in ATTRIBUTES or token[0] == "TimeSig"]
        found = iter(named(encoder, document))
        assert all(token in found for token in given), "a forced token is missing or out of order"
