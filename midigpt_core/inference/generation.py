"""Generates a batch of documents token by token: the grammar allows tokens, the model scores them, a sampler chooses.

Forced tokens are read in one run with the choice before them. Equal prompts are read once. Each choice is one native
call of the grammar and one of the sampler. The k-th choice of a document uses number k of the document's key, so its
tokens depend only on its prompt, its key and the model.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from midigpt_core._native import TokenSampler
from midigpt_core.errors import CheckpointError, EncodingError
from midigpt_core.inference.note_tables import joined_controls
from midigpt_core.records import GrammarRequest, TokenBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midigpt_core.contracts import Encoder, Grammar, SequenceReader, Sequences
    from midigpt_core.inference.request import InferenceConfig
    from midigpt_core.records import Float32Array, Float64Array, Int32Array, Int64Array, UInt64Array


@frozen(eq=False, kw_only=True)
class Generated:
    """N generated documents. They may be incomplete if the generation was ended early."""

    documents: list[Int32Array]
    #: int32[N], how many of the requested bars are complete, counted in the order of the document.
    bars_written: Int32Array
    #: int64[N], tokens that were generated in each document: chosen, or forced by a choice.
    generated: Int64Array
    #: Tokens that were chosen, and that the model read.
    chosen: int
    read: int
    #: Seconds that the model took.
    model_seconds: float


def sampler_of(config: InferenceConfig) -> TokenSampler:
    return TokenSampler(top_k=config.top_k, top_p=config.top_p, mask_k=config.mask_k, mask_p=config.mask_p)


def generate(
    reader: SequenceReader,
    encoder: Encoder,
    prompts: TokenBatch,
    request: GrammarRequest,
    *,
    sampler: TokenSampler,
    temperatures: Float64Array,
    keys: UInt64Array,
    go_on: Callable[[int], bool],
    watch: Callable[[Grammar], None] | None = None,
) -> Generated:
    """Generate the bars of ``request`` after N ``prompts``; ``temperatures`` float64[N], ``keys`` uint64[N].

    ``go_on`` is called after every choice with the number of tokens just chosen. False ends the generation.
    ``watch`` is called with the grammar after every choice.
    """
    grammar = encoder.grammar()
    if grammar is None:
        raise EncodingError("the encoder has no grammar, so nothing can be generated with it. Use another one.")
    grammar.start(prompts, request)
    count, size = len(prompts), encoder.vocab_size
    capacity = int(request.max_tokens.max(initial=0)) or int(np.diff(prompts.offsets).max(initial=0)) * 8
    begun = [len(grammar.document(index)) for index in range(count)]
    started = time.perf_counter()
    sequences, logits, read = _read_prompts(reader, grammar, count, capacity, size)
    model_seconds = time.perf_counter() - started
    allowed = np.zeros((count, size), np.bool_)
    scores, flags = logits.reshape(-1), allowed.reshape(-1)
    tokens = np.zeros(count, np.int32)
    weights = _weights(request, count, size)
    weighed = () if weights is None else (weights.reshape(-1), np.ascontiguousarray(encoder.vocabulary.type_of))
    choices, chosen = 0, 0
    while not grammar.finished().all():
        grammar.mask(allowed)
        if weights is not None:
            grammar.weights(weights)
        _choose(sampler, scores, flags, temperatures, keys, choices, tokens, *weighed)
        grammar.advance(tokens)
        choices += 1
        following = grammar.take()
        active = int(np.count_nonzero(tokens >= 0))
        chosen += active
        if watch is not None:
            watch(grammar)
        if not go_on(active) or grammar.finished().all():
            break
        started = time.perf_counter()
        sequences.step(*following, logits)
        model_seconds += time.perf_counter() - started
        read += len(following[0])
    documents = [grammar.document(index) for index in range(count)]
    return Generated(
        documents=documents,
        bars_written=grammar.bars_written(),
        generated=np.array([len(document) for document in documents], np.int64) - begun,
        chosen=chosen,
        read=read,
        model_seconds=model_seconds,
    )


def _weights(request: GrammarRequest, count: int, size: int) -> Float64Array | None:
    """Room for the weights of tokens, float64[N, V], if the request has any."""
    controls = request.bar_controls
    if controls is None or not len(controls.pitch_weights) + len(controls.position_weights):
        return None
    return np.ones((count, size))


def joined(prompts: Sequence[TokenBatch], requests: Sequence[GrammarRequest]) -> tuple[TokenBatch, GrammarRequest]:
    """The documents of several batches of one encoder as one batch, and what to write in them."""
    lengths = np.concatenate([np.diff(batch.offsets) for batch in prompts])
    documents = np.cumsum([0, *map(len, prompts)])
    positions = [batch.positions for batch in prompts if batch.positions is not None]
    spans = [batch.masked_spans + np.array([first, 0, 0]) for batch, first in zip(prompts, documents, strict=False)]
    batch = TokenBatch(
        tokens=np.concatenate([batch.tokens for batch in prompts]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        role=np.concatenate([batch.role for batch in prompts]),
        status=np.concatenate([batch.status for batch in prompts]),
        masked_spans=np.concatenate(spans),
        positions=np.concatenate(positions) if positions else None,
    )
    shape = np.max([request.cells.shape[1:] for request in requests], axis=0)
    cells = np.zeros((len(batch), *shape), np.bool_)
    for request, first in zip(requests, documents, strict=False):
        count, tracks, bars = request.cells.shape
        cells[first : first + count, :tracks, :bars] = request.cells
    names = ("choose_attributes", "max_tokens", "max_notes", "max_polyphony")
    others = {name: np.concatenate([getattr(request, name) for request in requests]) for name in names}
    controls = joined_controls([request.bar_controls for request in requests], [*map(len, prompts)], cells.shape)
    return batch, GrammarRequest(cells=cells, bar_controls=controls, **others)


def _choose(sampler: TokenSampler, scores: Float32Array, *arguments: Any) -> None:
    """Call ``sampler.choose``. Raises CheckpointError if the model's logits are not finite."""
    try:
        sampler.choose(scores, *arguments)
    except ValueError as error:
        if np.isfinite(scores).all():
            raise
        raise CheckpointError(
            "what the model computes is not finite (NaN or infinite): its weights are too large. Choose another bundle."
        ) from error


def _read_prompts(
    reader: SequenceReader, grammar: Grammar, count: int, capacity: int, size: int
) -> tuple[Sequences, Float32Array, int]:
    """Read the prompts: the sequences, their logits float32[N, V], and the number of tokens read."""
    tokens, positions, offsets = grammar.take()
    runs = [slice(int(first), int(end)) for first, end in pairwise(offsets)]
    prompts = [(tokens[run].tobytes(), positions[run].tobytes()) for run in runs]
    numbers: dict[tuple[bytes, bytes], int] = {}
    sources = np.array([numbers.setdefault(prompt, len(numbers)) for prompt in prompts], np.int64)
    _, first = np.unique(sources, return_index=True)
    picked = [runs[index] for index in first]
    lengths = np.array([run.stop - run.start for run in picked], np.int64)
    starts: Int64Array = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    sequences = reader.open(len(picked), capacity)
    logits = np.zeros((len(picked), size), np.float32)
    joined = [np.concatenate([array[run] for run in picked]) for array in (tokens, positions)]
    sequences.step(joined[0], joined[1], starts, logits)
    if len(picked) == count:
        return sequences, logits, int(starts[-1])
    return sequences.fork(sources), np.ascontiguousarray(logits[sources]), int(starts[-1])
