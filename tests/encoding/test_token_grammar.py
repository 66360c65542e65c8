"""Grammars from tables, compared with a search through everything that their rules allow."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from midigpt_core.encoding.token_grammar import BAR, END, TableGrammar, TokenClass, TokenGrammar
from midigpt_core.encoding.vocabulary import vocabulary_of
from midigpt_core.errors import EncodingError
from midigpt_core.records import GrammarRequest, TokenBatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.records import Vocabulary

SIZES = {
    "Track": 2, "Bar": 1, "Signature": 2, "Position": 4, "Shift": 3, "Pitch": 3, "Drum": 2, "Velocity": 2, "Length": 3,
    "Fill": 1, "Start": 1, "Stop": 1, "End": 1,
}  # fmt: skip
TOKENS = [(kind, value) for kind, size in SIZES.items() for value in range(size)]
VOCABULARY = vocabulary_of(TOKENS)
ID = {token: number for number, token in enumerate(TOKENS)}
#: Bars of signature 0 have two places, those of signature 1 three.
PLACES = ("Signature", {0: 2, 1: 3})

POSITION = TokenClass("Position", then=("pitch", "drum"), part="onset", ascends=BAR, below=PLACES)
PITCH = TokenClass("Pitch", then="velocity", part="note", ascends="position", where=("Track", {0}))
CLASSES = {
    "position": POSITION,
    "pitch": PITCH,
    "drum": TokenClass("Drum", then=("drum", "position", END), part="note", ascends="position", where=("Track", {1})),
    "velocity": TokenClass("Velocity", then=("length", END)),
    "length": TokenClass("Length", then=("position", "pitch", END), part="length", amounts={0: 1, 1: 2, 2: 4}),
}
ONSETS = TokenGrammar(
    classes=CLASSES, first=("position", END), track="Track", bar="Bar", header="Signature", fill="Start"
)
#: Steps in time, and a length before its note.
STEPS = attrs.evolve(
    ONSETS,
    classes={
        "shift": TokenClass("Shift", then=("shift", "length", "pitch"), part="step", values={1, 2}, below=PLACES),
        "length": TokenClass("Length", then="pitch", part="length"),
        "pitch": TokenClass(
            "Pitch", then=("shift", "pitch", "length", END), part="note", ascends="shift", repeats=True
        ),
    },
    first=("shift", "pitch"),
)


def batch_of(documents: Sequence[Sequence[tuple[str, int]]]) -> TokenBatch:
    ids = [ID[token] for document in documents for token in document]
    count = len(documents)
    return TokenBatch(
        tokens=np.array(ids, np.int32),
        offsets=np.cumsum([0, *map(len, documents)]).astype(np.int64),
        role=np.ones(len(ids), np.uint8),
        status=np.zeros(count, np.uint8),
        masked_spans=np.zeros((0, 3), np.int64),
    )


def request_of(cells: Any, **limits: int) -> GrammarRequest:
    cells = np.array(cells, np.bool_)
    return GrammarRequest(
        cells=cells,
        choose_attributes=np.zeros(len(cells), np.bool_),
        **{
            name: np.full(len(cells), limits.get(name, 0), np.int32)
            for name in ("max_tokens", "max_notes", "max_polyphony")
        },
    )


def bars(*signatures: int, track: int = 0) -> list[tuple[str, int]]:
    return [("Track", track), *(token for value in signatures for token in (("Bar", 0), ("Signature", value)))]


class Rules:
    """What a declaration allows in one bar, worked out from the list of its tokens alone."""

    def __init__(
        self, declaration: TokenGrammar, track: int, signature: int, max_notes: int, max_polyphony: int
    ) -> None:
        self.declaration = declaration
        self.last = {"Track": track, "Signature": signature}
        self.max_notes = max_notes
        self.max_polyphony = max_polyphony

    def class_of(self, token: int) -> str:
        return next(name for name, one in self.declaration.classes.items() if TOKENS[token][0] in one.types)

    def may_end(self, written: tuple[int, ...]) -> bool:
        return END in self._then(written)

    def _then(self, written: tuple[int, ...]) -> tuple[str, ...]:
        return self.declaration.classes[self.class_of(written[-1])].then if written else self.declaration.first

    def next(self, written: tuple[int, ...]) -> Iterator[int]:
        for name in self._then(written):
            if name == END:
                continue
            one = self.declaration.classes[name]
            for token, (kind, value) in enumerate(TOKENS):
                is_in = kind in one.types and (one.values is None or value in one.values)
                if is_in and self._fits((*written, token), name, one, value):
                    yield token

    def _fits(self, written: tuple[int, ...], name: str, one: TokenClass, value: int) -> bool:
        if one.where and self.last[one.where[0]] not in one.where[1]:
            return False
        places = self._places(written)
        if (
            one.below
            and (places[-1] if one.part in ("onset", "step") else value) >= one.below[1][self.last[one.below[0]]]
        ):
            return False
        if one.ascends is not None:
            before = list(written[:-1])
            names = [self.class_of(token) for token in before]
            if one.ascends in names:
                start = len(names) - 1 - names[::-1].index(one.ascends)
                before, names = before[start:], names[start:]
            values = [TOKENS[token][1] for token, of in zip(before, names, strict=True) if of == name]
            if values and (value < values[-1] or (value == values[-1] and not one.repeats)):
                return False
        if one.part == "note":
            if self.max_notes and sum(self._part(token) == "note" for token in written) > self.max_notes:
                return False
            sounding = sum(start <= places[-1] < start + length for start, length in self._notes(written[:-1]))
            if self.max_polyphony and sounding >= self.max_polyphony:
                return False
        return True

    def _part(self, token: int) -> str:
        return self.declaration.classes[self.class_of(token)].part

    def _amount(self, token: int) -> int:
        amounts, value = self.declaration.classes[self.class_of(token)].amounts, TOKENS[token][1]
        return value if amounts is None else amounts[value]

    def _places(self, written: tuple[int, ...]) -> list[int]:
        places, place = [], 0
        for token in written:
            if self._part(token) == "onset":
                place = self._amount(token)
            if self._part(token) == "step":
                place += self._amount(token)
            places.append(place)
        return places

    def _notes(self, written: tuple[int, ...]) -> list[tuple[int, int]]:
        notes: list[list[int]] = []
        given, is_open = 0, False
        for token, place in zip(written, self._places(written), strict=True):
            part = self._part(token)
            if part in ("onset", "step"):
                is_open = False
            elif part == "note":
                notes.append([place, max(given, 1)])
                given, is_open = 0, given == 0
            elif part == "length":
                length = max(self._amount(token), 1)
                if is_open:
                    notes[-1][1] = length
                else:
                    given = length
                is_open = False
        return [(start, length) for start, length in notes]

    def can_end(self, written: tuple[int, ...], room: int) -> bool:
        if room < 0:
            return False
        return self.may_end(written) or any(self.can_end((*written, token), room - 1) for token in self.next(written))


def allowed_by(grammar: TableGrammar) -> set[int]:
    out = np.ones((1, VOCABULARY.size), np.bool_)
    grammar.mask(out)
    return set(np.flatnonzero(out[0]).tolist())


@pytest.mark.parametrize("declaration", [ONSETS, STEPS])
@pytest.mark.parametrize("limits", [{}, {"max_notes": 1}, {"max_notes": 2}, {"max_polyphony": 1}, {"max_polyphony": 2}])
@pytest.mark.parametrize("room", [1, 4, 5, 7])
def test_what_is_allowed_is_what_can_be_completed(declaration: TokenGrammar, limits: dict[str, int], room: int) -> None:
    generator = np.random.default_rng(room)
    for track, signature in ((0, 0), (0, 1), (1, 1)):
        prompt = [*bars(signature, track=track), ("End", 0)]
        rules = Rules(declaration, track, signature, limits.get("max_notes", 0), limits.get("max_polyphony", 0))
        for _ in range(12):
            grammar = TableGrammar(declaration, VOCABULARY)
            asked = request_of([[[True]]], max_tokens=len(prompt) + room, **limits)
            if not rules.can_end((), room):
                with pytest.raises(EncodingError, match="document 0: "):
                    grammar.start(batch_of([prompt]), asked)
                continue
            grammar.start(batch_of([prompt]), asked)
            while not grammar.finished()[0]:
                written = tuple(grammar.document(0)[len(prompt) - 1 :].tolist())
                left = room - len(written)
                expected = {token for token in rules.next(written) if rules.can_end((*written, token), left - 1)}
                expected |= {ID["End", 0]} if rules.may_end(written) else set()
                assert allowed_by(grammar) == expected, [TOKENS[token] for token in written]
                grammar.advance(np.array([generator.choice(sorted(expected))], np.int32))
            document = grammar.document(0).tolist()
            assert document[-1] == ID["End", 0]
            assert len(document) <= len(prompt) + room
            assert grammar.bars_written().tolist() == [1]


def write(
    declaration: TokenGrammar, documents: Any, request: GrammarRequest, seed: int = 0
) -> list[list[tuple[str, int]]]:
    """The documents that random choices lead to; what was taken is what they are."""
    generator = np.random.default_rng(seed)
    grammar = TableGrammar(declaration, VOCABULARY)
    grammar.start(batch_of(documents), request)
    taken: list[list[int]] = [[] for _ in documents]
    out = np.zeros((len(documents), VOCABULARY.size), np.bool_)
    while True:
        tokens, positions, offsets = grammar.take()
        for row, document in enumerate(taken):
            run = slice(offsets[row], offsets[row + 1])
            assert positions[run].tolist() == list(
                range(len(document), len(document) + offsets[row + 1] - offsets[row])
            )
            document.extend(tokens[run].tolist())
        if grammar.finished().all():
            break
        grammar.mask(out)
        assert (out.sum(axis=1)[~grammar.finished()] > 1).all(), "one token is no choice"
        grammar.advance(np.where(out, generator.random(out.shape), -1).argmax(axis=1).astype(np.int32))
    assert taken == [grammar.document(row).tolist() for row in range(len(documents))]
    return [[TOKENS[token] for token in document] for document in taken]


def bodies(document: Sequence[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    """The notes after each signature."""
    found: list[list[tuple[str, int]]] = []
    for token in document:
        if token[0] == "Signature":
            found.append([])
        elif found and token[0] not in ("Track", "Bar", "End", "Fill", "Start", "Stop"):
            found[-1].append(token)
    return found


def test_bars_of_a_track_are_written_where_they_are_asked_for() -> None:
    context = [*bars(0), ("Position", 1), ("Pitch", 2), ("Velocity", 0), ("End", 0)]
    tail = [*bars(0, 1, 0, track=1), ("End", 0)]
    request = request_of([[[False, False, False], [False, True, True]]], max_notes=3)
    seen = set()
    for seed in range(20):
        (document,) = write(ONSETS, [[*context, *tail]], request, seed)
        assert document[: len(context)] == context
        first, second, third, fourth = bodies(document)
        assert len(first) == 3
        assert second == []
        assert all(kind in ("Position", "Drum") for kind, _ in third + fourth)
        assert [token for token in document if token[0] in ("Track", "Bar", "Signature", "End")] == [
            token for token in (*context, *tail) if token[0] in ("Track", "Bar", "Signature", "End")
        ]
        seen.add((tuple(third), tuple(fourth)))
    assert len(seen) > 5


def test_blocks_have_the_signature_and_track_of_their_bars() -> None:
    """By track, then bar; a limit of tokens closes the blocks."""
    context = [
        *bars(0), ("Fill", 0), ("Bar", 0), ("Signature", 1), ("Fill", 0), ("End", 0),
        *bars(1, track=1), ("Fill", 0), ("End", 0),
    ]  # fmt: skip
    blocks = [("Start", 0), ("Stop", 0)] * 3
    cells = [[[True, True], [True, False]]]
    for seed in range(30):
        limit = len(context) + len(blocks) + 2 + seed
        (document,) = write(ONSETS, [[*context, *blocks]], request_of(cells, max_tokens=limit), seed)
        assert len(document) <= limit
        assert document[: len(context)] == context
        runs, run = [], []
        for token in document[len(context) :]:
            if token[0] == "Stop":
                runs.append(run)
            run = [] if token[0] in ("Start", "Stop") else [*run, token]
        assert len(runs) == 3
        for body, places, kind in zip(runs, (2, 3, 3), ("Pitch", "Pitch", "Drum"), strict=True):
            assert all(value < places for name, value in body if name == "Position")
            assert all(name in (kind, "Position", "Velocity", "Length") for name, _ in body)


def test_a_batch_is_its_documents_one_by_one_and_masked_tokens_are_not_taken() -> None:
    prompts = [[*bars(0), ("End", 0)], [*bars(1, 0), ("End", 0)]]
    cells = [[[True, False]], [[False, True]]]
    grammar = TableGrammar(ONSETS, VOCABULARY)
    masked = attrs.evolve(batch_of(prompts), masked_spans=np.array([[1, 1, 3]]))
    grammar.start(masked, request_of(cells))
    _, positions, offsets = grammar.take()
    assert offsets.tolist() == [0, 3, 6]
    assert positions.tolist() == [0, 1, 2, 0, 3, 4]
    assert grammar.document(1).tolist() == [ID[token] for token in prompts[1][:-1]]
    assert grammar.bars_written().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("document", "cells", "problem"),
    [
        (bars(0), [[[True]]], "document 0: it ends with a bar to write: the encoder must end tracks"),
        ([*bars(0), ("End", 0)], [[[False, True]]], "it has 0 of the 1 bars to write"),
        ([*bars(0), ("Position", 0), ("Drum", 0), ("End", 0)], [[[True]]], "a bar to write has notes"),
        ([*bars(0), ("Start", 0), ("Stop", 0), ("Start", 0), ("Stop", 0)], [[[True]]], "it has more bars to fill in"),
        ([*bars(0), ("Start", 0), ("Stop", 0)], [[[False, True]]], "a bar to fill in is not among its bars"),
    ],
)
def test_documents_that_cannot_be_written(document: Any, cells: Any, problem: str) -> None:
    with pytest.raises(EncodingError, match=problem) as error:
        TableGrammar(ONSETS, VOCABULARY).start(batch_of([document]), request_of(cells))
    assert str(error.value).endswith("Write fewer bars, or use a narrower window.")


def test_controls_of_notes_are_refused() -> None:
    nothing: Any = object()
    request = attrs.evolve(request_of([[[True]]]), bar_controls=nothing)
    with pytest.raises(EncodingError, match="a declared grammar has no controls of notes"):
        TableGrammar(ONSETS, VOCABULARY).start(batch_of([[*bars(0), ("End", 0)]]), request)


def test_a_token_that_may_not_come_next() -> None:
    grammar = TableGrammar(ONSETS, VOCABULARY)
    grammar.start(batch_of([[*bars(0), ("End", 0)]]), request_of([[[True]]]))
    for token in (ID["Position", 3], ID["Pitch", 0], -1, 10**6):
        with pytest.raises(ValueError, match=f"sequence 0: token {token} may not come next"):
            grammar.advance(np.array([token], np.int32))
    with pytest.raises(ValueError, match=r"out must be bool\[N, 26\]"):
        grammar.mask(np.zeros((1, 3), np.bool_))


def with_class(name: str, **changes: Any) -> TokenGrammar:
    return attrs.evolve(ONSETS, classes=CLASSES | {name: attrs.evolve(CLASSES[name], **changes)})


@pytest.mark.parametrize(
    ("declaration", "problem"),
    [
        (with_class("pitch", types="Ptch"), "class 'pitch': the vocabulary has no type 'Ptch'. It has Track, Bar,"),
        (
            with_class("pitch", then="velocty"),
            "class 'pitch': then: there is no class 'velocty'. Classes are position,",
        ),
        (with_class("pitch", ascends="onset"), "class 'pitch': ascends: there is no class 'onset'"),
        (with_class("pitch", types=("Pitch", "Drum")), r"class 'drum': Drum\(0\) is also in another class"),
        (with_class("pitch", types="Bar"), r"class 'pitch': Bar\(0\) is also in another class, or outside"),
        (with_class("pitch", values={9}), "class 'pitch': no token has these types and values"),
        (with_class("pitch", part="chord"), "class 'pitch': part 'chord' is none of '', 'onset'"),
        (with_class("pitch", where=("Track", {7})), "class 'pitch': where: no token of type 'Track' has such a value"),
        (with_class("pitch", where=("Velocity", {0})), r"class 'velocity': Velocity\(0\) is also .* outside the notes"),
        (with_class("velocity", repeats=True), "class 'velocity': repeats without ascends"),
        (with_class("length", amounts={0: 1}), "class 'length': amounts: nothing is given for value 1"),
        (with_class("length", amounts={0: 1, 1: -1, 2: 1}), "class 'length': amounts cannot be negative"),
        (
            with_class("length", amounts={0: 1, 1: 2**40, 2: 1}),
            "class 'length': amounts: 1099511627776 for value 1 is no",
        ),
        (with_class("length", amounts={0: 1, 1: 2.9, 2: 1}), "class 'length': amounts: 2.9 for value 1 is no integer"),
        (
            with_class("position", below=("Signature", {0: None, 1: 3})),
            "class 'position': below: None for value 0 is no",
        ),
        (
            attrs.evolve(ONSETS, classes={name: attrs.evolve(one, then="position") for name, one in CLASSES.items()}),
            "class 'position': then: END can never follow",
        ),
        (with_class("position", below=("Signature", {1: 3})), "class 'position': below: nothing is given for value 0"),
        (with_class("length", part="step"), "classes 'position' and 'length': only one can have the part"),
        (attrs.evolve(ONSETS, first="notes"), "first: there is no class 'notes'"),
        (attrs.evolve(ONSETS, first=()), "first: name the classes that a bar begins with"),
        (with_class("pitch", ascends="end"), "class 'pitch': ascends: there is no class 'end'. Name 'bar' or one of"),
        (attrs.evolve(ONSETS, header=("Signature", "Bar")), "header: type 'Bar' is already the bar"),
        (attrs.evolve(ONSETS, fill="Track"), "fill: type 'Track' is already the track"),
        (attrs.evolve(ONSETS, header=("Signature", "Signature")), "header: type 'Signature' is already the header"),
        (attrs.evolve(ONSETS, bar="Barr"), "bar: the vocabulary has no type 'Barr'"),
        (attrs.evolve(ONSETS, classes={}), "classes: a grammar has 1 to 32 classes, not 0"),
        (attrs.evolve(ONSETS, classes={"end": POSITION}), "classes: 'end' is not a name for a class"),
    ],
)
def test_a_declaration_that_does_not_fit_names_class_and_option(declaration: TokenGrammar, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        TableGrammar(declaration, VOCABULARY)


def many(count: int, **options: Any) -> tuple[TokenGrammar, Vocabulary]:
    """A class for each of ``count`` types, any of which can follow any other; only the last one ends the bar."""
    names = [f"c{number}" for number in range(count)]
    tokens = [("Bar", 0), ("End", 0), *((name, value) for name in names for value in range(2))]
    classes = {
        name: TokenClass(name, then=(*names, *((END,) if name == names[-1] else ())), **options) for name in names
    }
    return TokenGrammar(classes=classes, first=names[0], bar="Bar"), vocabulary_of(tokens)


def test_classes_that_can_run_out_of_values_are_limited() -> None:
    declaration, vocabulary = many(9, ascends="bar")
    with pytest.raises(ValueError, match=r"'c0', 'c1', .* 'c8': at most 8 classes can have ascends without repeats"):
        TableGrammar(declaration, vocabulary)
    for options in ({"ascends": "bar", "repeats": True}, {}):
        TableGrammar(*many(9, **options))


def test_looking_ahead_takes_a_moment_at_most() -> None:
    """Where no bar can end, every set of classes that are used up is looked at: 256 of them."""
    names = [f"c{number}" for number in range(8)]
    tokens = [("Bar", 0), ("End", 0), *((name, value) for name in [*names, "one", "two"] for value in range(3))]
    classes = {
        name: TokenClass(name, then=(*names, "one"), ascends=names[number - 1]) for number, name in enumerate(names)
    }
    classes["one"] = TokenClass("one", then=(*names, "two"), part="note")
    classes["two"] = TokenClass("two", then=END, part="note")
    grammar = TableGrammar(TokenGrammar(classes=classes, first=names, bar="Bar"), vocabulary_of(tokens))
    document = attrs.evolve(
        batch_of([[("End", 0)] * 2]), tokens=np.array([0, 1], np.int32), offsets=np.array([0, 2])
    )  # fmt: skip
    begin = time.perf_counter()
    with pytest.raises(EncodingError, match="no token can begin a bar"):
        grammar.start(document, request_of([[[True]]], max_notes=1))
    assert time.perf_counter() - begin < 5
    grammar.start(document, request_of([[[True]]], max_notes=2, max_tokens=5))


#: The place of a bar's only note can be begun again, but has no room for a second note.
ONE_PLACE = TokenGrammar(
    classes={
        "position": TokenClass("Position", then="pitch", values={0}, part="onset", ascends="velocity"),
        "pitch": TokenClass("Pitch", then=("velocity", "length"), part="note"),
        "length": TokenClass("Length", then="velocity", part="length"),
        "velocity": TokenClass("Velocity", then=("position", "drum")),
        "drum": TokenClass("Drum", then=END, part="note"),
    },
    first="position",
    bar="Bar",
    header="Signature",
)  # fmt: skip


def test_a_note_that_a_second_one_must_follow_is_not_begun_where_only_one_may_sound() -> None:
    document = [("Bar", 0), ("Signature", 0), ("End", 0)]
    with pytest.raises(EncodingError, match="no token can begin a bar"):
        TableGrammar(ONE_PLACE, VOCABULARY).start(batch_of([document]), request_of([[[True]]], max_polyphony=1))
    for seed in range(10):
        (written,) = write(ONE_PLACE, [document], request_of([[[True]]], max_polyphony=2, max_tokens=12), seed)
        assert [kind for kind, _ in written].count("Drum") == 1
        assert written[-2][0] == "Drum"


def test_vocabularies() -> None:
    assert VOCABULARY.name(ID["Pitch", 2]) == "Pitch(2)"
    with pytest.raises(ValueError, match=r"A\(1\) is in the vocabulary twice"):
        vocabulary_of([("A", 1), ("B", 1), ("A", 1)])
    with pytest.raises(ValueError, match="a vocabulary has 1 to 256 types, not 0"):
        vocabulary_of([])
