"""Documents that a grammar writes under random logits, and what is in them, read off the token names."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import attrs
import numpy as np

from midigpt_core import keys
from midigpt_core._native import TokenSampler
from midigpt_core.records import GrammarRequest, MaskedAs
from midigpt_core.score import Score
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.testing.music import windows
from support.encoder import piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_encoder.encoder import MidigptEncoder
    from numpy.typing import NDArray

    from midigpt_core.records import TokenBatch

BARS, TRACKS = 4, 3
ATTRIBUTES = {
    "MinPolyphony", "MaxPolyphony", "MinNoteDuration", "MaxNoteDuration", "NoteDensity", "TrackLevelPitchRangeMax",
    "KeySignature", "TrackLevelSilenceProportionMax", "TrackLevelNomml", "Tension", "TensionDrum",
    "BarLevelOnsetDensity", "BarLevelOnsetPolyphonyMin", "BarLevelOnsetPolyphonyMax", "BarLevelPitchClassSet",
    "attributes/syncopation", "attributes/chroma-entropy",
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
    weights, choices = np.ones((count, size)), 0
    key = keys.derive(int(rng.integers(2**32)), keys.Stage.DRAW, np.arange(count))
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
        if case.request.bar_controls is None:
            grammar.advance(np.where(allowed, noise, -np.inf).argmax(axis=1).astype(np.int32))
            continue
        grammar.weights(weights)
        chosen = np.zeros(count, np.int32)
        types = np.ascontiguousarray(case.encoder.vocabulary.type_of)
        logits = (3 * noise).astype(np.float32).reshape(-1)
        sampled = logits, allowed.reshape(-1), np.ones(count), key, choices, chosen, weights.reshape(-1), types
        TokenSampler().choose(*sampled)
        grammar.advance(chosen)
        choices += 1
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
