"""What is generated is what the model says of the whole document: prompts and steps are numbered as in training."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest
import torch
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.errors import EncodingError
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.inference.forward_reader import ForwardReader
from midigpt_core.inference.generation import generate, sampler_of
from midigpt_core.inference.planner import plan
from midigpt_core.inference.prompts import Job, Prompter
from midigpt_core.records import GrammarRequest
from midigpt_core.testing import music
from support.inference import engine as small_engine

if TYPE_CHECKING:
    from midigpt_core.contracts import SequenceReader, Sequences
    from midigpt_core.records import Float32Array, Int32Array, Int64Array

SETTINGS = ("sequence", "placeholder")
CELLS = {0: (1, 2), 1: (5,), 2: (0, 7)}


@cache
def engine(setting: str, precision: str = "float32") -> InferenceEngine:
    made = small_engine("yellow")
    encoder = made.encoder
    assert isinstance(encoder, MidigptEncoder)
    config = encoder.config if setting == "sequence" else encoder.config.with_placeholder_positions()
    return InferenceEngine(made.model, MidigptEncoder(config), precision=precision)


@attrs.define
class Watched:
    """A reader, and sequences, of one document, and all that is read and answered."""

    reader: SequenceReader
    sequences: Sequences | None = None
    tokens: list[int] = attrs.field(factory=list)
    positions: list[int] = attrs.field(factory=list)
    #: By the number of tokens read.
    answers: dict[int, Float32Array] = attrs.field(factory=dict)

    def open(self, count: int, capacity: int) -> Sequences:
        assert count == 1
        self.sequences = self.reader.open(count, capacity)
        return self

    def step(self, tokens: Int32Array, positions: Int32Array, offsets: Int64Array, logits: Float32Array) -> None:
        assert self.sequences is not None
        self.sequences.step(tokens, positions, offsets, logits)
        self.tokens += tokens.tolist()
        self.positions += positions.tolist()
        self.answers[len(self.tokens)] = logits[0].copy()

    def fork(self, sources: Int64Array) -> Sequences:
        raise NotImplementedError


def fill_in(made: InferenceEngine, reader: Watched) -> Int32Array:
    """A document with five bars filled in, always by the likeliest token, and one masked."""
    request = GenerationRequest([TrackPrompt(id=track, bars=bars) for track, bars in CELLS.items()])
    (step,) = plan(request, music.BARS, made.trained)
    masked = np.zeros((3, music.BARS), np.bool_)
    masked[0, 6] = True
    job = Job(step=step, score=0, tracks=(0, 1, 2), masked=masked)
    prompts = Prompter(made.encoder, request).prompts([music.scores()[0]], [job])
    assert len(prompts.batch.masked_spans) == 1
    generated = generate(
        reader,
        made.encoder,
        prompts.batch,
        GrammarRequest(
            cells=prompts.cells,
            choose_attributes=np.zeros(1, np.bool_),
            max_tokens=np.full(1, made.max_tokens, np.int32),
            max_notes=np.full(1, 6, np.int32),
            max_polyphony=np.zeros(1, np.int32),
        ),
        sampler=sampler_of(InferenceConfig()),
        temperatures=np.ones(1),
        keys=np.full(1, 5, np.uint64),
        go_on=lambda _: True,
    )
    assert generated.bars_written.tolist() == [5]
    first, end = prompts.batch.masked_spans[0, 1:]
    reader.tokens[first:first] = generated.documents[0][first:end].tolist()
    reader.positions[first:first] = range(first, end)
    reader.answers = {read + int(end - first): answer for read, answer in reader.answers.items()}
    return np.delete(np.arange(len(reader.tokens)), slice(first, end)).astype(np.int32)


@pytest.mark.parametrize("own_reader", [True, False])
@pytest.mark.parametrize("setting", SETTINGS)
def test_prompt_and_steps_are_the_whole_document(setting: str, own_reader: bool) -> None:
    made = engine(setting)
    watched = Watched(made.reader() if own_reader else ForwardReader(made.model))
    seen = fill_in(made, watched)
    document = np.array(watched.tokens, np.int32)
    positions = made.encoder.positions(document)
    assert (positions is None) == (setting == "sequence")
    expected = np.arange(len(document)) if positions is None else positions
    assert watched.positions == expected.tolist()
    with torch.no_grad():
        visible = torch.from_numpy(document[seen]).long(), torch.from_numpy(np.asarray(expected)[seen]).long()
        whole = made.model(visible[0][None], position_ids=visible[1][None])[0].numpy()
    assert len(watched.answers) > 40
    for read, answer in watched.answers.items():
        assert np.abs(answer - whole[int(np.flatnonzero(seen == read - 1)[0])]).max() < 2e-5 * np.abs(whole).max()


@pytest.mark.parametrize("setting", SETTINGS)
def test_scores_are_those_of_evaluation(setting: str) -> None:
    """Packed into a row behind another document, as evaluation has them; and by the reader of a lesser precision."""
    made = engine(setting)
    corpus, windows = music.corpus(), music.windows((0, 1), music.BARS, infill=True)
    batch = made.encoder.encode_batch(corpus, windows, np.zeros(2, np.int32))
    places = np.concatenate([np.arange(length) for length in np.diff(batch.offsets)])
    positions = places if batch.positions is None else batch.positions
    with torch.no_grad():
        row = made.model(
            torch.from_numpy(batch.tokens).long()[None],
            position_ids=torch.from_numpy(np.asarray(positions)).long()[None],
            document_ids=torch.from_numpy(np.repeat([0, 1], np.diff(batch.offsets))).int()[None],
        )[0]
    for first, end in zip(batch.offsets, batch.offsets[1:], strict=False):
        document = batch.tokens[first:end]
        logits = row[first : end - 1].log_softmax(-1).double()
        expected = logits.gather(1, torch.from_numpy(document[1:]).long()[:, None])[:, 0].numpy()
        assert np.allclose(made.score_tokens(document), expected, atol=1e-4)
        assert np.allclose(engine(setting, "bfloat16").score_tokens(document), expected, atol=0.1)


def test_the_settings_score_filled_bars_otherwise() -> None:
    batch = engine("sequence").encoder.encode_batch(
        music.corpus(), music.windows((0,), music.BARS, infill=True), np.zeros(1, np.int32)
    )
    ours, theirs = (engine(setting).score_tokens(batch.tokens) for setting in SETTINGS)
    context = int((batch.role == 0).sum())
    assert np.allclose(ours[: context - 1], theirs[: context - 1])
    assert not np.allclose(ours[context:], theirs[context:], atol=1e-3)


def test_a_foreign_token_is_an_error() -> None:
    for precision in ("float32", "bfloat16"):
        with pytest.raises(EncodingError, match="token"):
            engine("placeholder", precision).score_tokens([0, 10**6])
