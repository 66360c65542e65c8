"""Grammars as tables: which class of tokens follows which, and which values the state of a bar allows.

For encoders whose documents are bars, in tracks or not. Every token but the notes of the bars to write is forced. What
these notes can be is declared as a :class:`TokenGrammar`, which native code follows (docs/plugins/grammars.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from attrs import field, frozen

from midigpt_core._native import TokenGrammar as NativeGrammar
from midigpt_core.errors import EncodingError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from midigpt_core.records import (
        BoolArray,
        Float64Array,
        GrammarRequest,
        Int32Array,
        Int64Array,
        TokenBatch,
        UInt8Array,
        Vocabulary,
    )

#: In :attr:`TokenClass.then` and :attr:`TokenGrammar.first`: the bar can end here.
END = "end"
#: In :attr:`TokenClass.ascends`: since the start of the bar.
BAR = "bar"

Part = Literal["", "onset", "step", "note", "length"]
#: The most classes of a grammar: one bit of the native table each.
MOST_CLASSES = 32
#: The most classes that can run out of values within a bar: a look ahead has a state for each set of them.
MOST_EXHAUSTIBLE = 8
#: The largest amount and limit, in the encoder's units.
_MOST = 1 << 16

_ROLES = ("other", "track", "bar", "header", "fill")


def _names(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


@frozen
class TokenClass:
    """Tokens that can occur in the same places: what may follow one of them may follow all."""

    #: The token types of the vocabulary that are of this class, one name or several.
    types: tuple[str, ...] = field(converter=_names)
    #: Classes that may come next, and :data:`END` if the bar can end after a token of this class.
    then: tuple[str, ...] = field(converter=_names, kw_only=True)
    #: The values of these types that may be written; None: all.
    values: Collection[int] | None = field(default=None, kw_only=True)
    #: What a token says of notes. ``onset``: the place in the bar at which the next notes begin. ``step``: how far that
    #: place moves on. ``note``: a note, which counts for the limits of a request (most notes, most notes at once).
    #: ``length``: how long a note sounds, after its ``note`` or before it. Empty: nothing that a limit depends on.
    part: Part = field(default="", kw_only=True)
    #: What a value amounts to as onset, step or length, by value, in one unit for all classes; None: the value itself.
    amounts: Mapping[int, int] | None = field(default=None, kw_only=True)
    #: Values ascend: ``"bar"``, since the start of the bar; the name of a class, since its last token. None: any order.
    ascends: str | None = field(default=None, kw_only=True)
    #: With ``ascends``: a value can be the same as the one before.
    repeats: bool = field(default=False, kw_only=True)
    #: A token type and, by its last value before the notes of the bar, the limit that values of this class are below.
    #: The limit of an ``onset`` or ``step`` is for the place in the bar.
    below: tuple[str, Mapping[int, int]] | None = field(default=None, kw_only=True)
    #: A token type and the values of it with which this class can be used: its last value before the notes of the bar.
    where: tuple[str, Collection[int]] | None = field(default=None, kw_only=True)


@frozen(kw_only=True)
class TokenGrammar:
    """The documents of an encoder, as far as a grammar must know them.

    A bar begins with a token of type ``bar``, followed by any tokens of the ``header`` types and its notes. The token
    that follows its notes in the document ends it: the next bar, or a token that ends the track. An encoder that fills
    in writes, at the end of the document, a block for each bar to fill in, by track and then bar: a token of type
    ``fill``, any ``header`` tokens, the notes, and a token that ends the block.
    """

    #: The classes of tokens that the notes of a bar are made of, by name.
    classes: Mapping[str, TokenClass]
    #: Classes that the notes of a bar can begin with, and :data:`END` if a bar can be empty.
    first: tuple[str, ...] = field(converter=_names)
    #: The token type that begins a bar.
    bar: str
    #: The token type that begins a track; None: a document is one run of bars for all tracks, and bars are only filled
    #: in.
    track: str | None = None
    #: Token types that may come between the token of a bar and its notes.
    header: tuple[str, ...] = field(default=(), converter=_names)
    #: The token type that begins the block of a bar to fill in; None: the encoder does not fill in.
    fill: str | None = None


class TableGrammar:
    """A :class:`~midigpt_core.contracts.Grammar` that follows a :class:`TokenGrammar`.

    Bars are written completely: a note that is begun is completed, and every bar ends before ``max_tokens``. The limits
    ``max_notes`` and ``max_polyphony`` of a request hold; ``bar_controls`` are refused, and ``choose_attributes``
    has no effect.

    Raises ValueError, naming class and option, for a declaration that does not fit the vocabulary.
    """

    def __init__(self, declaration: TokenGrammar, vocabulary: Vocabulary) -> None:
        self._size = vocabulary.size
        self._native = NativeGrammar(_Compiled(declaration, vocabulary))

    def start(self, batch: TokenBatch, request: GrammarRequest) -> None:
        """See :meth:`midigpt_core.contracts.Grammar.start`."""
        if batch.positions is not None:
            raise EncodingError("a declared grammar numbers tokens by their places. Leave out infill_positions.")
        if request.bar_controls is not None:
            raise EncodingError(
                "a declared grammar has no controls of notes (scales, rhythms, remixes). Leave them out."
            )
        try:
            self._native.start(batch, request)
        except ValueError as error:
            raise EncodingError(f"{error}. Write fewer bars, or use a narrower window.") from error

    def take(self) -> tuple[Int32Array, Int32Array, Int64Array]:
        """See :meth:`midigpt_core.contracts.Grammar.take`."""
        tokens, positions, offsets = self._native.take()
        return np.array(tokens, np.int32), np.array(positions, np.int32), np.array(offsets, np.int64)

    def mask(self, out: BoolArray) -> None:
        """See :meth:`midigpt_core.contracts.Grammar.mask`."""
        # The rows of another array would be copied, and the copy be filled.
        if out.shape[1:] != (self._size,) or not out.flags.c_contiguous:
            raise ValueError(f"out must be bool[N, {self._size}], contiguous")
        self._native.mask(out.reshape(-1))

    def weights(self, out: Float64Array) -> None:
        """See :meth:`midigpt_core.contracts.Grammar.weights`."""
        out[:] = 1.0

    def advance(self, tokens: Int32Array) -> None:
        """See :meth:`midigpt_core.contracts.Grammar.advance`."""
        self._native.advance(tokens)

    def finished(self) -> BoolArray:
        """See :meth:`midigpt_core.contracts.Grammar.finished`."""
        return np.array(self._native.finished(), np.bool_)

    def bars_written(self) -> Int32Array:
        """See :meth:`midigpt_core.contracts.Grammar.bars_written`."""
        return np.array(self._native.bars_written(), np.int32)

    def document(self, index: int) -> Int32Array:
        """See :meth:`midigpt_core.contracts.Grammar.document`."""
        return np.array(self._native.document(index), np.int32)


@frozen(eq=False, kw_only=True)
class _CompiledClass:
    """A class in numbers: csrc/token_grammar/declaration.h explains them."""

    tokens: Int32Array
    values: Int32Array
    amounts: Int32Array
    next: int
    ends: bool
    order: int
    since: int
    part: int
    limit_register: int
    limits: dict[int, int]
    gate_register: int
    gates: set[int]


class _Compiled:
    """A declaration in numbers, checked against the vocabulary."""

    def __init__(self, declaration: TokenGrammar, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._declaration = declaration
        self._names = list(declaration.classes)
        if not 0 < len(self._names) <= MOST_CLASSES:
            raise ValueError(f"classes: a grammar has 1 to {MOST_CLASSES} classes, not {len(self._names)}")
        if reserved := {END, BAR} & {*self._names}:
            raise ValueError(f"classes: {min(reserved)!r} is not a name for a class")
        read = [given[0] for one in declaration.classes.values() for given in (one.below, one.where) if given]
        self._registers = list(dict.fromkeys(read))
        self.registers = len(self._registers)
        self.has_tracks = declaration.track is not None
        self.role: UInt8Array = np.zeros(vocabulary.size, np.uint8)
        self.class_of: Int32Array = np.full(vocabulary.size, -1, np.int32)
        self.register_of: Int32Array = np.full(vocabulary.size, -1, np.int32)
        self.value_of: Int32Array = np.ascontiguousarray(vocabulary.value_of, np.int32)
        for number, names in enumerate(
            (
                (),
                _names(declaration.track or ()),
                (declaration.bar,),
                declaration.header,
                _names(declaration.fill or ()),
            )
        ):
            for name in names:
                chosen = self._of_type(name, _ROLES[number])
                if other := int(self.role[chosen].max()):
                    raise ValueError(f"{_ROLES[number]}: type {name!r} is already the {_ROLES[other]}")
                self.role[chosen] = number
        for number, name in enumerate(self._registers):
            self.register_of[self._of_type(name, "below or where")] = number
        if not declaration.first:
            raise ValueError("first: name the classes that a bar begins with, and END if it can be empty")
        self.first, self.may_be_empty = self._followers(declaration.first, "first")
        self.classes = [self._compiled(name, one) for name, one in declaration.classes.items()]
        self._check_ends()
        moving = [name for name, one in declaration.classes.items() if one.part in ("onset", "step")]
        if len(moving) > 1:
            raise ValueError(f"classes {' and '.join(map(repr, moving))}: only one can have the part onset or step")
        ascending = [
            name
            for name, one in declaration.classes.items()
            if one.part == "step" or (one.ascends is not None and not one.repeats)
        ]
        if len(ascending) > MOST_EXHAUSTIBLE:
            raise ValueError(
                f"classes {', '.join(map(repr, ascending))}: at most {MOST_EXHAUSTIBLE} classes can have ascends "
                "without repeats, or the part step. Allow repeats in some, or join classes"
            )

    def _check_ends(self) -> None:
        """Raise ValueError for a class after which no bar can end: generation would look for an end for ever."""
        ending = sum(1 << index for index, one in enumerate(self.classes) if one.ends)
        for _ in self.classes:
            ending |= sum(1 << index for index, one in enumerate(self.classes) if one.next & ending)
        for index, name in enumerate(self._names):
            if not ending >> index & 1:
                raise ValueError(f"class {name!r}: then: END can never follow. Add it to a class that leads to the end")

    def _compiled(self, name: str, one: TokenClass) -> _CompiledClass:
        what = f"class {name!r}"
        chosen = np.zeros(self._vocabulary.size, np.bool_)
        for of in one.types:
            chosen |= self._of_type(of, what)
        taken = chosen & ((self.class_of >= 0) | (self.role > 0) | (self.register_of >= 0))
        if taken.any():
            token = self._vocabulary.name(int(np.argmax(taken)))
            raise ValueError(f"{what}: {token} is also in another class, or outside the notes of bars")
        self.class_of[chosen] = self._names.index(name)
        if one.values is not None:
            chosen &= np.isin(self.value_of, list(one.values))
        if not chosen.any():
            raise ValueError(f"{what}: no token has these types and values")
        tokens = np.flatnonzero(chosen).astype(np.int32)
        tokens = tokens[np.argsort(self.value_of[tokens], kind="stable")]
        values = self.value_of[tokens]
        then, ends = self._followers(one.then, f"{what}: then")
        if one.part not in get_args(Part):
            raise ValueError(f"{what}: part {one.part!r} is none of {', '.join(map(repr, get_args(Part)))}")
        amounts = values if one.amounts is None else self._looked_up(one.amounts, values, f"{what}: amounts")
        if one.part and (amounts < 0).any():
            raise ValueError(f"{what}: amounts cannot be negative")
        if one.part and (amounts > _MOST).any():
            raise ValueError(f"{what}: amounts cannot be above {_MOST:,}")
        if one.repeats and one.ascends is None:
            raise ValueError(f"{what}: repeats without ascends has no meaning")
        since = 0
        if one.ascends is not None and one.ascends != BAR:
            if one.ascends not in self._names:
                raise ValueError(
                    f"{what}: ascends: there is no class {one.ascends!r}. "
                    f"Name {BAR!r} or one of {', '.join(self._names)}"
                )
            since, _ = self._followers((one.ascends,), f"{what}: ascends")
        limit, limits = self._given(one.below, f"{what}: below")
        if limit >= 0:
            known = self.value_of[self.register_of == limit]
            self._looked_up(limits, known, f"{what}: below")
        gate, gates = self._given(one.where, f"{what}: where")
        return _CompiledClass(
            tokens=tokens,
            values=values,
            amounts=np.ascontiguousarray(amounts, np.int32),
            next=then,
            ends=ends,
            order=0 if one.ascends is None else 1 + one.repeats,
            since=since,
            part=get_args(Part).index(one.part),
            limit_register=limit,
            limits={int(value): int(limits[value]) for value in limits},
            gate_register=gate,
            gates={int(value) for value in gates},
        )

    def _of_type(self, name: str, what: str) -> BoolArray:
        """bool[V]: the tokens of a type."""
        names = self._vocabulary.type_names
        if name not in names:
            raise ValueError(f"{what}: the vocabulary has no type {name!r}. It has {', '.join(names)}")
        found: BoolArray = self._vocabulary.type_of == names.index(name)
        return found

    def _followers(self, names: Sequence[str], what: str) -> tuple[int, bool]:
        """Classes as bits, and whether :data:`END` is among them."""
        bits = 0
        for name in names:
            if name != END and name not in self._names:
                raise ValueError(f"{what}: there is no class {name!r}. Classes are {', '.join(self._names)}")
            bits |= 0 if name == END else 1 << self._names.index(name)
        return bits, END in names

    def _given(self, given: tuple[str, Any] | None, what: str) -> tuple[int, Any]:
        """The register of a type whose values an option names, and these values; -1 without the option."""
        if given is None:
            return -1, {}
        name, values = given
        number = self._registers.index(name)
        if not np.isin(list(values), self.value_of[self.register_of == number]).any():
            raise ValueError(f"{what}: no token of type {name!r} has such a value")
        return number, values

    def _looked_up(self, table: Mapping[int, int], values: Int32Array, what: str) -> Int32Array:
        missing = [value for value in values.tolist() if value not in table]
        if missing:
            raise ValueError(f"{what}: nothing is given for value {missing[0]}")
        for value in values.tolist():
            given = table[value]
            if not isinstance(given, int | np.integer) or not -_MOST <= given <= _MOST:
                raise ValueError(f"{what}: {given!r} for value {value} is no integer from {-_MOST:,} to {_MOST:,}")
        return np.array([table[value] for value in values.tolist()], np.int32)
