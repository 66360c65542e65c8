"""What a grammar lets through is what the encoder could have written: held against rules that are written out here.

Random logits try everything that is allowed. The rules are those of docs/encoder-specification.md, C.2 to C.5 and F.5,
read off the token names; the code under test is not used to check itself.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.errors import ConfigError, EncodingError
from midigpt_core.records import GrammarRequest, MaskedAs
from midigpt_core.score import Score
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.testing.music import windows
from support.encoder import PRESETS, goldens, piece, preset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from midigpt_core.records import TokenBatch

BARS, TRACKS = 4, 3
ATTRIBUTES = {
    "MinPolyphony", "MaxPolyphony", "MinNoteDuration", "MaxNoteDuration", "NoteDensity", "TrackLevelPitchRangeMax",
    "KeySignature", "TrackLevelSilenceProportionMax", "TrackLevelNomml", "Tension", "TensionDrum",
    "BarLevelOnsetDensity", "BarLevelOnsetPolyphonyMin", "BarLevelOnsetPolyphonyMax", "BarLevelPitchClassSet",
}  # fmt: skip


@dataclasses.dataclass
class Case:
    """Documents to write, all over one score whose second track is drums and whose third is written."""

    encoder: MidigptEncoder
    prompts: TokenBatch
    request: GrammarRequest


def score(rng: np.random.Generator, encoder: MidigptEncoder) -> Score:
    content = piece(TRACKS, BARS, (4, 4))
    signatures = encoder.time_signatures or ((4, 4), (3, 4), (6, 8))
    chosen = [signatures[index] for index in rng.integers(0, len(signatures), BARS)]
    content["bars"] = [[n, d, 4 * n / d] for n, d in chosen]
    for track in content["tracks"]:
        track["notes"] = [note for note in track["notes"] if note[1] < 1920 * min(n / d for n, d in chosen)]
        track["drum"] = bool(rng.random() < 0.4)
    return Score.from_dict(content)


def case(encoder: MidigptEncoder, rng: np.random.Generator, count: int, *, infill: bool, **limits: int) -> Case:
    """``count`` documents: bars of the second and third track to fill in, or the rest of the third to go on with."""
    cells = np.zeros((count, TRACKS, BARS), bool)
    for row in cells:
        if infill:
            row[1:] = rng.random((2, BARS)) < 0.4
            row[2, rng.integers(BARS)] = True
        else:
            row[2, rng.integers(BARS) :] = True
    scores = []
    for row in cells:
        content = score(rng, encoder).to_dict()
        for track, blank in zip(content["tracks"], row, strict=True):
            track["notes"] = [note for note in track["notes"] if not blank[note[0]]]
        scores.append(Score.from_dict(content))
    masked = (rng.random(cells.shape) < 0.1) & ~cells
    asked = attrs.evolve(
        windows(range(count), BARS, TRACKS),
        infill=cells if infill else np.zeros_like(cells),
        masked=masked,
        masked_as=np.full(count, MaskedAs.SPAN, np.uint8),
        use_velocity=rng.integers(-1, 2, count).astype(np.int8),
        use_microtiming=rng.integers(-1, 2, count).astype(np.int8),
        attribute_values=_levels(encoder, rng, count),
        compute_attributes=False,
    )
    prompts = encoder.encode_batch(in_memory_corpus(scores), asked, np.zeros(count, np.int32))
    request = GrammarRequest(
        cells=cells,
        choose_attributes=np.full(count, not infill),
        max_tokens=np.full(count, limits.get("max_tokens", 0), np.int32),
        max_notes=np.full(count, limits.get("max_notes", 0), np.int32),
        max_polyphony=np.full(count, limits.get("max_polyphony", 0), np.int32),
    )
    return Case(encoder, prompts, request)


def _levels(encoder: MidigptEncoder, rng: np.random.Generator, count: int) -> NDArray[np.int16]:
    """Levels for some of the attributes; the others are left to the grammar, or out."""
    levels = np.full((count, TRACKS, 1 + BARS, len(encoder.attributes)), -1, np.int16)
    for index, attribute in enumerate(encoder.attributes):
        rows = slice(0, 1) if attribute.level == "track" else slice(1, None)
        drawn = rng.integers(0, max(attribute.size, 1), levels[:, :, rows, index].shape)
        given = rng.random(drawn.shape) < 0.5
        levels[:, :, rows, index] = np.where(given, drawn, -1)
    return levels


def write(case: Case, rng: np.random.Generator) -> list[list[int]]:
    """Documents from random logits, by choices among what is allowed; their choices are counted by the caller's eye."""
    count, size = len(case.prompts), case.encoder.vocab_size
    grammar = case.encoder.grammar()
    grammar.start(case.prompts, case.request)
    taken: list[list[int]] = [[] for _ in range(count)]
    allowed = np.zeros((count, size), bool)
    while True:
        tokens, positions, offsets = grammar.take()
        for row in range(count):
            run = slice(offsets[row], offsets[row + 1])
            taken[row].extend(zip(positions[run].tolist(), tokens[run].tolist(), strict=True))
        if grammar.finished().all():
            break
        grammar.mask(allowed)
        waiting = allowed.any(axis=1)
        assert np.array_equal(waiting, ~grammar.finished())
        assert (allowed[waiting].sum(axis=1) > 1).all(), "one token is no choice"
        noise = rng.gumbel(size=(count, size), scale=1.0)
        grammar.advance(np.where(allowed, noise, -np.inf).argmax(axis=1).astype(np.int32))
    assert np.array_equal(grammar.bars_written(), case.request.cells.sum(axis=(1, 2)))
    documents = [grammar.document(row).tolist() for row in range(count)]
    spans = [set() for _ in range(count)]
    for document, first, end in case.prompts.masked_spans.tolist():
        spans[document].update(range(first, end))
    for row, document in enumerate(documents):
        # What is taken is the document without its masked tokens, at their places.
        assert all(document[position] == token for position, token in taken[row])
        if not case.request.choose_attributes[row]:
            assert [position for position, _ in taken[row]] == [i for i in range(len(document)) if i not in spans[row]]
    return documents


def named(encoder: MidigptEncoder, document: Sequence[int]) -> list[tuple[str, int]]:
    vocabulary = encoder.vocabulary
    names = vocabulary.type_names
    return [(names[int(vocabulary.type_of[token])], int(vocabulary.value_of[token])) for token in document]


@dataclasses.dataclass
class Bar:
    drum: bool
    ticks: int
    body: list[tuple[str, int]]


def bars_of(case: Case, row: int, document: Sequence[int]) -> tuple[list[Bar], list[tuple[str, int]]]:
    """The bars that were written, in the order of the document, and the rest of the document."""
    encoder, cells = case.encoder, case.request.cells[row]
    written: list[Bar] = []
    rest: list[tuple[str, int]] = []
    placeholders: list[Bar] = []
    track, bar, drum, ticks, body = -1, -1, False, 0, None
    attributes_of_written = case.prompts.role[case.prompts.offsets[row]] != 0
    for name, value in named(encoder, document):
        if name in ("BarEnd", "FillInEnd") and body is not None:
            place = Bar(drum, ticks, []) if name == "BarEnd" else placeholders.pop(0)
            written.append(dataclasses.replace(place, body=body))
            body = None
        if body is not None and name not in ATTRIBUTES:
            body.append((name, value))
            continue
        if name == "Track":
            track, bar, drum = track + 1, -1, value == 1
        elif name == "Bar":
            bar, ticks = bar + 1, int(4 * encoder.config.resolution + 0.5)
        elif name == "TimeSig" and encoder.time_signatures:
            numerator, denominator = encoder.time_signatures[value]
            ticks = int(4 * numerator / denominator * encoder.config.resolution + 0.5)
        elif name == "FillInPlaceholder":
            placeholders.append(Bar(drum, ticks, []))
        if name in ATTRIBUTES and attributes_of_written and cells[track].any():
            continue
        rest.append((name, value))
        last_of_header = name == "TimeSig" or (name == "Bar" and "TimeSig" not in dict(encoder.config.codebook.domains))
        if name == "FillInStart" or (last_of_header and attributes_of_written and cells[track, bar]):
            body = []
    return written, rest


def complaint(case: Case, row: int, bar: Bar) -> str:
    """What is wrong with the notes of one bar; empty: nothing."""
    config, types = case.encoder.config, set(dict(case.encoder.config.codebook.domains))
    sizes = dict(case.encoder.config.codebook.domains)
    switches = dict(named(case.encoder, case.prompts.tokens[case.prompts.offsets[row] :][:4]))
    velocities = sizes.get("VelocityLevel", 0) > 1 and switches.get("UseVelocity", 1) == 1
    emits = config.emit_delta_tokens or config.switchable_microtiming
    deltas = emits and sizes.get("Delta", 0) > 1 and switches.get("UseMicrotiming", 1) == 1
    onset, pitch, level, notes = 0, -1, 0, []
    tokens = [*bar.body, ("end", 0)]
    index = 0
    while tokens[index][0] != "end":
        name, value = tokens[index]
        if name == "TimeAbsolutePos":
            if not onset < value < bar.ticks:
                return f"position {value} after {onset} in a bar of {bar.ticks}"
            if tokens[index + 1][0] in ("TimeAbsolutePos", "end"):
                return "a position without a note"
            onset, pitch, index = value, -1, index + 1
            continue
        if name == "VelocityLevel":
            if not velocities or value == 0 or (config.velocity_sticky and value == level):
                return f"velocity {value} after {level}"
            level, index = value, index + 1
        elif velocities and (level == 0 or not config.velocity_sticky):
            return "a note without velocity"
        if tokens[index][0] == "DeltaDirection":
            if not deltas or tokens[index] != ("DeltaDirection", 0) or tokens[index + 1][0] != "Delta":
                return "a direction without delta"
            index += 1
        if tokens[index][0] == "Delta":
            if not deltas or tokens[index][1] == 0:
                return "delta 0"
            index += 1
        name, value = tokens[index]
        if name != "NoteOnset" or value > 127:
            return f"{name}({value}) for a note"
        if "TimeAbsolutePos" in types and value <= pitch:
            return f"pitch {value} after {pitch} at one onset"
        pitch, index, duration = value, index + 1, 1
        if not bar.drum and "NoteDuration" in types:
            if tokens[index][0] != "NoteDuration":
                return "a note without duration"
            duration, index = tokens[index][1] + 1, index + 1
        notes.append((onset, onset + duration))
    limits = case.request
    if limits.max_notes[row] and len(notes) > limits.max_notes[row]:
        return f"{len(notes)} notes"
    together = max((sum(start <= at < end for start, end in notes) for at, _ in notes), default=0)
    if limits.max_polyphony[row] and together > limits.max_polyphony[row]:
        return f"{together} notes at once"
    return ""


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
