"""Checks for encoders."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import attrs
import numpy as np

from midigpt_core import keys
from midigpt_core.checkpoint import build_encoder
from midigpt_core.contracts import BundleHeader, Encoder, EncoderContext
from midigpt_core.errors import EncodingError
from midigpt_core.plugins.building import build
from midigpt_core.records import PLACEHOLDER, SEQUENCE, GrammarRequest, TokenRole, TokenStatus
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.score.editing import replace_cells
from midigpt_core.testing import music
from midigpt_core.testing.general import encoded_elsewhere, process_registry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.records import BoolArray, Corpus, Int32Array, TokenBatch
    from midigpt_core.score import Score
    from midigpt_core.testing.general import Subject

#: The most tokens of a document that a grammar writes.
_MOST_TOKENS = 4096


def check_vocabulary_describes_every_token(subject: Subject) -> None:
    vocabulary = _build(subject).vocabulary
    assert vocabulary.size > 0
    assert vocabulary.type_of.shape == vocabulary.value_of.shape == (vocabulary.size,)
    assert int(vocabulary.type_of.max()) < len(vocabulary.type_names), "a token has a type without a name"
    pairs = np.stack([vocabulary.type_of.astype(np.int64), vocabulary.value_of], axis=1)
    assert len(np.unique(pairs, axis=0)) == vocabulary.size, "two tokens have one type and value"


def check_tokens_are_within_the_vocabulary(subject: Subject) -> None:
    encoder = _build(subject)
    for infill in _modes(encoder):
        batch = _encode(encoder, music.corpus(), infill=infill)
        assert batch.status.tolist() == [TokenStatus.OK] * len(batch), f"status {batch.status.tolist()}"
        assert batch.offsets[0] == 0
        assert batch.offsets[-1] == len(batch.tokens) == len(batch.role)
        assert (np.diff(batch.offsets) > 0).all(), "a document is empty"
        assert batch.tokens.min() >= 0
        assert batch.tokens.max() < encoder.vocab_size, "a token id is outside the vocabulary"


def check_roles_say_what_is_asked_for(subject: Subject) -> None:
    encoder = _build(subject)
    assert (_encode(encoder, music.corpus()).role == TokenRole.TARGET).all(), "without infill everything is a target"
    if "infill" in encoder.provides:
        batch = _encode(encoder, music.corpus(), infill=True)
        for document in range(len(batch)):
            role = batch.role[batch.offsets[document] : batch.offsets[document + 1]]
            assert role[0] == TokenRole.CONTEXT, "an infill document begins with its context"
            assert role[-1] == TokenRole.TARGET, "an infill document ends with its target"
            assert (np.diff(role.astype(np.int8)) >= 0).all(), "context after the target"


def check_positions_of_filled_bars_are_one_thing(subject: Subject) -> None:
    """Positions are the same in batches, for a single document and in the grammar; none exceeds the token's place."""
    encoder = _build(subject)
    if "placeholder_positions" in encoder.provides:
        with_option = attrs.evolve(subject.ref, options={**subject.ref.options, "infill_positions": PLACEHOLDER})
        encoder = build(with_option, EncoderContext())
        assert encoder.infill_positions == PLACEHOLDER, "the option infill_positions has no effect"
    if encoder.infill_positions == PLACEHOLDER:
        assert encoder.to_config().get("infill_positions") == PLACEHOLDER, "to_config() does not keep infill_positions"
    for infill in _modes(encoder):
        batch = _encode(encoder, music.corpus(), infill=infill)
        if encoder.infill_positions == SEQUENCE:
            assert batch.positions is None, "positions of an encoder whose infill_positions are 'sequence'"
            continue
        assert batch.positions is not None, "no positions, though infill_positions is not 'sequence'"
        given = np.split(batch.positions, batch.offsets[1:-1])
        for tokens, positions in zip(_documents(batch), given, strict=True):
            assert np.array_equal(positions, _positions(encoder, tokens)), "a single document has different positions"
            assert ((positions >= 0) & (positions <= np.arange(len(tokens)))).all(), "a position above its place"
        grammar = encoder.grammar()
        if grammar is not None:
            grammar.start(*_to_write(encoder, infill=infill))
            _, positions, offsets = grammar.take()
            for index, taken in enumerate(np.split(positions, offsets[1:-1])):
                expected = _positions(encoder, grammar.document(index))
                assert np.array_equal(taken, expected), "a document that is written has different positions"


def check_a_batch_is_its_windows_one_by_one(subject: Subject) -> None:
    encoder = _build(subject)
    together = _documents(_encode(encoder, music.corpus(), pieces=(0, 1, 0)))
    alone = [_documents(_encode(encoder, music.corpus(), pieces=(piece,)))[0] for piece in (0, 1, 0)]
    assert all(map(np.array_equal, together, alone)), "a window's tokens depend on its batch"


def check_no_document_is_longer_than_allowed(subject: Subject) -> None:
    encoder = _build(subject)
    whole = np.diff(_encode(encoder, music.corpus()).offsets)
    for limit in (1, int(whole.min()) // 2, int(whole.min()) - 1):
        batch = _encode(encoder, music.corpus(), max_tokens=limit)
        assert (np.diff(batch.offsets) <= limit).all(), f"a document is longer than max_tokens = {limit}"
        assert (batch.status != TokenStatus.OK).all(), "a document that does not fit has status OK"


def check_decoding_and_encoding_again_settles(subject: Subject) -> None:
    """A first round trip may lose resolution and tempo; a second one loses nothing more."""
    encoder = _build(subject)
    for first in _documents(_encode(encoder, music.corpus())):
        second = _again(encoder, first)
        assert np.array_equal(second, _again(encoder, second)), "encode(decode(tokens)) does not settle"


def check_late_onsets_stay_in_their_bar(subject: Subject) -> None:
    """A note in the last tick of a bar may move within the bar or be lost, but is not in the next bar."""
    for bar, pitches in enumerate(_pitches_after(_build(subject), music.late_onsets())):
        assert pitches <= {60 + bar}, f"a late note of bar {bar - 1} is in bar {bar} after decoding"


def check_notes_that_outlast_their_bar_are_kept(subject: Subject) -> None:
    """A duration may be cut, the note stays where it begins."""
    for bar, pitches in enumerate(_pitches_after(_build(subject), music.long_notes())):
        assert pitches == {60 + bar}, f"bar {bar} has other notes after decoding: durations beyond its end"


def check_empty_bars_stay_empty(subject: Subject) -> None:
    for bar, pitches in enumerate(_pitches_after(_build(subject), music.empty_bars())):
        expected = {60 + bar} if bar % 3 == 0 else set()
        assert pitches == expected, f"bar {bar} has other notes after decoding: bars without notes"


def check_chords_keep_their_notes(subject: Subject) -> None:
    """All sixteen notes at once, or the window is refused by its status."""
    for bar, pitches in enumerate(_pitches_after(_build(subject), music.thick_chords())):
        expected = {40 + bar + 3 * voice for voice in range(16)}
        assert pitches == expected, f"a chord of 16 notes has {len(pitches)} after decoding"


def check_signatures_are_kept(subject: Subject) -> None:
    """Bars come back in their time signatures, or the window is refused by its status."""
    encoder = _build(subject)
    score = _decoded(encoder, music.odd_signatures())
    if score is None:
        return
    for bar, (ours, theirs) in enumerate(
        zip(score.tracks[0].bars, music.odd_signatures().tracks[0].bars, strict=False)
    ):
        signatures = [(each.numerator, each.denominator) for each in (ours, theirs)]
        assert signatures[0] == signatures[1], f"bar {bar} is in {signatures[0]} after decoding, not {signatures[1]}"


def check_a_window_late_in_a_long_piece_is_itself(subject: Subject) -> None:
    encoder = _build(subject)
    start = music.MANY_BARS - _num_bars(encoder)
    for bar, pitches in enumerate(_pitches_after(encoder, music.long_piece(), start)):
        assert pitches == {36 + (start + bar) % 48}, f"bar {start + bar} of a long piece has other notes after decoding"


def check_other_processes_write_the_same_tokens(subject: Subject) -> None:
    """A data worker is another process, with another order of its sets."""
    encoder = _build(subject)
    ours = [_encode(encoder, music.corpus(), infill=infill).tokens for infill in _modes(encoder)]
    theirs = [np.frombuffer(tokens, np.int32) for tokens in encoded_elsewhere(subject.ref, _num_bars(encoder))]
    assert all(map(np.array_equal, ours, theirs)), "another process writes other tokens for the same window"


def check_decoding_refuses_a_foreign_token(subject: Subject) -> None:
    encoder = _build(subject)
    for foreign in (encoder.vocab_size, -1):
        try:
            encoder.decode(np.array([foreign], np.int32))
        except EncodingError:
            continue
        raise AssertionError(f"token {foreign} was decoded; raise EncodingError")


def check_its_grammar_writes_the_bars_that_are_asked_for(subject: Subject) -> None:
    """Any choice of allowed tokens ends with every bar written, and the document decodes."""
    encoder = _build(subject)
    grammar = encoder.grammar()
    if grammar is None:
        return
    for infill in _modes(encoder):
        documents, request = _to_write(encoder, infill=infill)
        grammar.start(documents, request)
        allowed = np.zeros((2, encoder.vocab_size), np.bool_)
        lengths = np.zeros(2, np.int64)
        choices = 0
        while True:
            tokens, positions, offsets = grammar.take()
            assert len(tokens) == len(positions) == offsets[-1]
            lengths += np.diff(offsets)
            finished = grammar.finished()
            if finished.all():
                break
            grammar.mask(allowed)
            assert np.array_equal(allowed.any(axis=1), ~finished), (
                "some token is allowed exactly until a sequence is finished"
            )
            noise = keys.uniforms(keys.derive(choices, keys.Stage.DRAW, np.arange(2)), encoder.vocab_size)
            grammar.advance(np.where(allowed, noise, -1).argmax(axis=1).astype(np.int32))
            choices += 1
            assert choices <= _MOST_TOKENS, "the grammar never finishes the bars"
        assert np.array_equal(grammar.bars_written(), request.cells.sum(axis=(1, 2)))
        for index in range(2):
            document = grammar.document(index)
            assert len(document) == lengths[index] <= _MOST_TOKENS, "document() differs from the tokens taken"
            encoder.decode(document)


def check_its_configuration_builds_the_same_encoder(subject: Subject) -> None:
    """Every bundle stores ``to_config()``; the encoder is rebuilt from it."""
    encoder = _build(subject)
    header = BundleHeader(
        architecture="none",
        architecture_config={},
        encoder=f"{subject.ref.plugin}/{subject.ref.name}",
        encoder_config=encoder.to_config(),
    )
    with process_registry(subject.registry):
        again = build_encoder(header)
    assert again.to_config() == encoder.to_config()
    _assert_same_tokens(encoder, again)


def check_survives_pickling(subject: Subject) -> None:
    encoder = _build(subject)
    _assert_same_tokens(encoder, pickle.loads(pickle.dumps(encoder)))


def _build(subject: Subject) -> Encoder:
    encoder: Encoder = subject.build(EncoderContext())
    return encoder


def _modes(encoder: Encoder) -> tuple[bool, ...]:
    return (False, True) if "infill" in encoder.provides else (False,)


def _num_bars(encoder: Encoder) -> int:
    return max((size for size in encoder.window_sizes if size <= music.BARS), default=4)


def _encode(
    encoder: Encoder, corpus: Corpus, pieces: Sequence[int] = (0, 1), *, infill: bool = False, max_tokens: int = 0
) -> TokenBatch:
    windows = music.windows(pieces, _num_bars(encoder), infill=infill)
    return encoder.encode_batch(corpus, windows, np.full(len(pieces), max_tokens, np.int32))


def _to_write(encoder: Encoder, *, infill: bool) -> tuple[TokenBatch, GrammarRequest]:
    """Two documents with the second track's first bar to fill in, or the last track to write; and the request."""
    windows = music.windows((0, 1), _num_bars(encoder), infill=infill)
    cells = windows.infill.copy()
    if not infill:
        cells[:, 2] = True
    blank = [replace_cells(score, _of_piece(score, row)) for score, row in zip(music.scores(), cells, strict=True)]
    documents = encoder.encode_batch(in_memory_corpus(blank), windows, np.zeros(2, np.int32))
    request = GrammarRequest(
        cells=cells,
        choose_attributes=np.zeros(2, np.bool_),
        max_tokens=np.full(2, _MOST_TOKENS, np.int32),
        max_notes=np.full(2, 4, np.int32),
        max_polyphony=np.zeros(2, np.int32),
    )
    return documents, request


def _of_piece(score: Score, cells: BoolArray) -> BoolArray:
    """Cells of a window as cells of the whole score."""
    out = np.zeros((len(score.tracks), music.BARS), np.bool_)
    out[: cells.shape[0], : cells.shape[1]] = cells
    return out


def _documents(batch: TokenBatch) -> list[Int32Array]:
    return np.split(batch.tokens, batch.offsets[1:-1])


def _decoded(encoder: Encoder, score: Score, start_bar: int = 0) -> Score | None:
    """The window of the one track of ``score`` after encoding and decoding; None if it is refused by its status."""
    windows = music.windows((0,), _num_bars(encoder), 1, start_bar=start_bar)
    batch = encoder.encode_batch(in_memory_corpus([score]), windows, np.zeros(1, np.int32))
    return encoder.decode(batch.tokens) if batch.status[0] == TokenStatus.OK else None


def _pitches_after(encoder: Encoder, score: Score, start_bar: int = 0) -> list[set[int]]:
    """The pitches of each bar after encoding and decoding; nothing if the window is refused by its status."""
    decoded = _decoded(encoder, score, start_bar)
    return [] if decoded is None else [set(bar.notes.pitch.tolist()) for bar in decoded.tracks[0].bars]


def _positions(encoder: Encoder, tokens: Int32Array) -> Int32Array:
    positions = encoder.positions(tokens)
    assert positions is not None, "no positions of a single document, though infill_positions is not 'sequence'"
    return positions


def _again(encoder: Encoder, tokens: Int32Array) -> Int32Array:
    score: Score = encoder.decode(tokens)
    tracks = len(score.tracks)
    windows = music.windows((0,), len(score.tracks[0].bars), tracks)
    return encoder.encode_batch(in_memory_corpus([score]), windows, np.zeros(1, np.int32)).tokens


def _assert_same_tokens(one: Encoder, other: Encoder) -> None:
    assert one.vocab_size == other.vocab_size
    for infill in _modes(one):
        ours, theirs = (_encode(encoder, music.corpus(), infill=infill).tokens for encoder in (one, other))
        assert np.array_equal(ours, theirs), "the same configuration gives different tokens"
