"""A batch of documents, written token by token: a grammar says what may come, the model how likely, a key which.

What is forced is read in one run with the choice before it, prompts that are equal are read once, and a choice is one
native call each of grammar and sampler. Row n draws its k-th choice with number k of its key, so what is written
depends on its prompt, its key and the model alone.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from midigpt_core._native import TokenSampler
from midigpt_core.errors import CheckpointError, EncodingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.contracts import Encoder, Grammar, SequenceReader, Sequences
    from midigpt_core.inference.request import InferenceConfig
    from midigpt_core.records import (
        Float32Array,
        Float64Array,
        GrammarRequest,
        Int32Array,
        Int64Array,
        TokenBatch,
        UInt64Array,
    )


@frozen(eq=False, kw_only=True)
class Written:
    """N documents, whole or as far as they came."""

    documents: list[Int32Array]
    #: int32[N], how many of the bars asked for are complete, in the order of the document.
    bars_written: Int32Array
    #: Tokens that were chosen, that were written (with those that follow from a choice), and that the model read.
    chosen: int
    written: int
    read: int


def sampler_of(config: InferenceConfig) -> TokenSampler:
    return TokenSampler(top_k=config.top_k, top_p=config.top_p, mask_k=config.mask_k, mask_p=config.mask_p)


def write(
    reader: SequenceReader,
    encoder: Encoder,
    prompts: TokenBatch,
    request: GrammarRequest,
    *,
    sampler: TokenSampler,
    temperatures: Float64Array,
    keys: UInt64Array,
    go_on: Callable[[int], bool],
) -> Written:
    """Write what ``request`` asks of N ``prompts``; ``temperatures`` float64[N], ``keys`` uint64[N].

    ``go_on`` is called after every choice with the number of tokens chosen since; False ends the writing.
    """
    grammar = encoder.grammar()
    if grammar is None:
        raise EncodingError("the encoder has no grammar, so nothing can be generated with it. Use another one.")
    grammar.start(prompts, request)
    count, size = len(prompts), encoder.vocab_size
    capacity = int(request.max_tokens.max(initial=0)) or int(np.diff(prompts.offsets).max(initial=0)) * 8
    begun = sum(len(grammar.document(index)) for index in range(count))
    sequences, logits, read = _read_prompts(reader, grammar, count, capacity, size)
    allowed = np.zeros((count, size), np.bool_)
    scores, flags = logits.reshape(-1), allowed.reshape(-1)
    tokens = np.zeros(count, np.int32)
    choices, chosen = 0, 0
    while not grammar.finished().all():
        grammar.mask(allowed)
        _choose(sampler, scores, flags, temperatures, keys, choices, tokens)
        grammar.advance(tokens)
        choices += 1
        following = grammar.take()
        active = int(np.count_nonzero(tokens >= 0))
        chosen += active
        if not go_on(active) or grammar.finished().all():
            break
        sequences.step(*following, logits)
        read += len(following[0])
    documents = [grammar.document(index) for index in range(count)]
    written = sum(map(len, documents)) - begun
    return Written(documents=documents, bars_written=grammar.bars_written(), chosen=chosen, written=written, read=read)


def _choose(sampler: TokenSampler, scores: Float32Array, *arguments: Any) -> None:
    """``sampler.choose``. Raises CheckpointError where the model, its weights too large, says nothing."""
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
    """Sequences that have read the prompts, their logits float32[N, V], and how many tokens that took."""
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
