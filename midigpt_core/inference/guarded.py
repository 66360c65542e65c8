"""An encoder whose exceptions and broken promises become errors that name the component."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from midigpt_core.data.encoding import contradiction
from midigpt_core.errors import ComponentError, MidigptError
from midigpt_core.score import Score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.contracts import Encoder, Grammar
    from midigpt_core.records import (
        BoolArray,
        Corpus,
        Float64Array,
        GrammarRequest,
        Int32Array,
        Int64Array,
        TokenBatch,
        WindowBatch,
    )

#: A grammar without a limit of tokens may write so many times the tokens of its longest prompt.
_GROWTH = 8


def guarded(encoder: Encoder, component: str, where: str = "in generation") -> Encoder:
    """``encoder``, the same in every way but one: what is not a :class:`MidigptError` and leaves one of its methods, or
    those of its grammars, becomes a :class:`ComponentError` that names ``component``, and so does a result that breaks
    the contract. ``where`` says in the message when it happened."""
    return encoder if isinstance(encoder, _Guarded) else cast("Encoder", _Guarded(encoder, component, where))


class _Guarded:
    """Passes everything on to one component."""

    #: What its methods are of, for messages.
    _part = ""

    def __init__(self, subject: Any, component: str, where: str) -> None:
        self._subject = subject
        self._component = component
        self._stage = where

    def __getattr__(self, name: str) -> Any:
        # What this class itself has not: a copy that is being made has no subject yet.
        if name.startswith("_"):
            raise AttributeError(name)
        missing = object()
        with self._naming(name):
            value = getattr(self._subject, name, missing)
        if value is missing:
            raise AttributeError(f"{self._component} has no {name}")
        if not callable(value):
            return value

        def call(*arguments: Any, **options: Any) -> Any:
            with self._naming(name):
                return value(*arguments, **options)

        return call

    @contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except (MidigptError, ComponentError):
            raise
        except Exception as error:
            raise ComponentError(self._component, self._where(name), error) from error

    def _where(self, name: str) -> str:
        return f"{self._part}{name}, {self._stage}"

    def _refuse(self, name: str, problem: str) -> ComponentError:
        return ComponentError(self._component, self._where(name), ValueError(problem))

    def encode_batch(self, corpus: Corpus, windows: WindowBatch, max_tokens: Int32Array) -> TokenBatch:
        with self._naming("encode_batch"):
            batch: TokenBatch = self._subject.encode_batch(corpus, windows, max_tokens)
        problem = contradiction(batch, len(windows))
        if problem:
            raise self._refuse("encode_batch", f"it returned {problem}")
        self._check_tokens("encode_batch", batch.tokens, int(self._subject.vocab_size))
        return batch

    def decode(self, tokens: Int32Array) -> Score:
        with self._naming("decode"):
            score = self._subject.decode(tokens)
        if not isinstance(score, Score):
            raise self._refuse("decode", f"it returned a {type(score).__name__}, not a Score")
        return score

    def grammar(self) -> Grammar | None:
        with self._naming("grammar"):
            made = self._subject.grammar()
            size = int(self._subject.vocab_size)
        return None if made is None else cast("Grammar", _GuardedGrammar(made, self._component, self._stage, size))

    def _check_tokens(self, name: str, tokens: Int32Array, size: int) -> None:
        wrong = (tokens < 0) | (tokens >= size)
        if wrong.any():
            token = tokens[np.argmax(wrong)]
            raise self._refuse(name, f"token id {token} is outside the vocabulary of {size}")


class _GuardedGrammar(_Guarded):
    """A grammar that ends: it writes at most the tokens that its request allows."""

    _part = "grammar: "

    def __init__(self, grammar: Grammar, component: str, where: str, size: int) -> None:
        super().__init__(grammar, component, where)
        self._size = size
        #: int64[N], the most tokens of each document, and whether the request says so.
        self._most: Int64Array = np.zeros(0, np.int64)
        self._is_asked: BoolArray = np.zeros(0, np.bool_)
        self._lengths: Int64Array = np.zeros(0, np.int64)
        self._choices = 0

    def start(self, batch: TokenBatch, request: GrammarRequest) -> None:
        lengths = np.diff(batch.offsets)
        self._is_asked = request.max_tokens > 0
        self._most = np.where(self._is_asked, request.max_tokens, lengths.max(initial=1) * _GROWTH)
        self._lengths = np.zeros(len(batch), np.int64)
        self._choices = 0
        with self._naming("start"):
            self._subject.start(batch, request)

    def take(self) -> tuple[Int32Array, Int32Array, Int64Array]:
        with self._naming("take"):
            taken = self._subject.take()
        problem = _contradiction_of_taken(taken, len(self._lengths))
        if problem:
            raise self._refuse("take", f"it returned {problem}")
        tokens, positions, offsets = taken
        self._check_tokens("take", tokens, self._size)
        self._lengths += np.diff(offsets)
        # A grammar that hands out no tokens does not end either.
        over = (self._lengths > self._most) | (self._choices > self._most)
        if over.any():
            document = int(np.argmax(over))
            limit = "max_tokens" if self._is_asked[document] else f"{_GROWTH} times the tokens of the longest prompt"
            raise self._refuse(
                "take", f"it does not finish document {document} within {limit}, which is {self._most[document]}"
            )
        return tokens, positions, offsets

    def mask(self, out: BoolArray) -> None:
        with self._naming("mask"):
            self._subject.mask(out)
        stuck = ~out.any(axis=1) & ~self.finished()
        if stuck.any():
            raise self._refuse("mask", f"no token may come next, but document {np.argmax(stuck)} is not finished")

    def weights(self, out: Float64Array) -> None:
        with self._naming("weights"):
            self._subject.weights(out)
        wrong = ~np.isfinite(out) | (out < 0)
        if wrong.any():
            document, token = np.unravel_index(int(np.argmax(wrong)), out.shape)
            raise self._refuse(
                "weights", f"the weight of token {token} of document {document} is {out[document, token]:g}; "
                "weights are finite and at least 0"
            )  # fmt: skip

    def advance(self, tokens: Int32Array) -> None:
        self._choices += 1
        with self._naming("advance"):
            self._subject.advance(tokens)

    def finished(self) -> BoolArray:
        with self._naming("finished"):
            flags = np.asarray(self._subject.finished(), np.bool_)
        if flags.shape != self._lengths.shape:
            raise self._refuse("finished", f"it has shape {flags.shape}, not {self._lengths.shape}")
        return flags

    def bars_written(self) -> Int32Array:
        with self._naming("bars_written"):
            counts = np.asarray(self._subject.bars_written())
        if counts.shape != self._lengths.shape or counts.dtype.kind not in "iu":
            raise self._refuse("bars_written", f"it returned {counts.dtype}{list(counts.shape)}, not int32[N]")
        return counts.astype(np.int32)

    def document(self, index: int) -> Int32Array:
        with self._naming("document"):
            tokens = self._subject.document(index)
        if not _is_column(tokens, np.int32):
            raise self._refuse("document", f"it returned {_described(tokens)}, not a one-dimensional array of int32")
        self._check_tokens("document", tokens, self._size)
        return cast("Int32Array", tokens)


def _is_column(value: Any, dtype: type) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == dtype and value.ndim == 1


def _described(value: Any) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"


def _contradiction_of_taken(taken: Any, documents: int) -> str:
    """What is wrong with what `take` of a grammar returned; empty if nothing is."""
    if not isinstance(taken, tuple) or len(taken) != 3:
        return f"{_described(taken)}, not tokens, positions and offsets"
    for name, value, dtype in zip(
        ("tokens", "positions", "offsets"), taken, (np.int32, np.int32, np.int64), strict=True
    ):
        if not _is_column(value, dtype):
            return f"{name} {_described(value)}, not a one-dimensional array of {dtype.__name__}"
    tokens, positions, offsets = taken
    if len(offsets) != documents + 1 or not len(tokens) == len(positions) == offsets[-1]:
        return "tokens, positions and offsets that do not fit together"
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        return "offsets that do not ascend from 0"
    if len(positions) and int(positions.min()) < 0:
        return f"position {positions.min()}"
    return ""
