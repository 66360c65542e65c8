"""An encoder of a few lines, and what its base class does for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from midigpt_core.encoding.token_grammar import END, TableGrammar, TokenClass, TokenGrammar
from midigpt_core.encoding.vocabulary import vocabulary_of
from midigpt_core.encoding.window_encoder import WindowEncoder, window_score
from midigpt_core.errors import EncodingError
from midigpt_core.records import MaskedAs, TokenRole, TokenStatus
from midigpt_core.score import Score
from midigpt_core.score.columns import concatenate, in_memory_corpus
from midigpt_core.score.windows import plain_windows
from support.pitch_encoder import START, PitchEncoder, piece

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_core.records import Corpus, WindowBatch


def windows(count: int, **fields: Any) -> WindowBatch:
    plain = plain_windows(
        piece=np.zeros(count),
        start_bar=np.zeros(count),
        num_bars=np.full(count, 2),
        tracks=np.tile([0, -1], (count, 1)),
        infill=np.zeros((count, 2, 2), bool),
    )
    return attrs.evolve(plain, **fields)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return in_memory_corpus([piece(), piece(signature=5), piece(program=127)])


def test_windows_become_documents(corpus: Corpus) -> None:
    infill = np.zeros((3, 2, 2), bool)
    infill[2, 0, 1] = True
    batch = windows(3, start_bar=np.array([0, 2, 1], np.int32), infill=infill)
    encoded = PitchEncoder().encode_batch(corpus, batch, np.zeros(3, np.int32))
    documents = [encoded.tokens[a:b].tolist() for a, b in zip(encoded.offsets, encoded.offsets[1:], strict=False)]
    assert documents == [[START, 60, 61], [START, 62, 63], [START, 61, 62, START]]
    assert encoded.role.tolist() == [TokenRole.TARGET] * 6 + [TokenRole.CONTEXT] * 3 + [TokenRole.TARGET]
    assert (encoded.status == TokenStatus.OK).all()
    assert encoded.tokens.dtype == np.int32


def test_no_window_raises(corpus: Corpus) -> None:
    batch = windows(4, piece=np.array([1, 2, 0, 1]), num_bars=np.array([4, 2, 2, 2], np.int32))
    encoded = PitchEncoder().encode_batch(corpus, batch, np.array([0, 0, 2, 3], np.int32))
    assert encoded.status.tolist() == [
        TokenStatus.UNSUPPORTED_SIGNATURE,
        TokenStatus.UNSUPPORTED_VALUE,
        TokenStatus.TOO_LONG,
        TokenStatus.OK,
    ]
    assert encoded.offsets.tolist() == [0, 0, 0, 0, 3]


@pytest.mark.parametrize("masked_as", MaskedAs)
def test_the_notes_of_masked_bars_are_not_shown(corpus: Corpus, masked_as: MaskedAs) -> None:
    """Unless the encoder has a token for masked bars, and decides for itself."""
    masked = np.array([[[True, False], [True, True]]])
    batch = windows(1, tracks=np.array([[0, 1]], np.int32), masked=masked, masked_as=np.array([masked_as], np.uint8))
    encoded = PitchEncoder().encode_batch(corpus, batch, np.zeros(1, np.int32))
    every = masked_as == MaskedAs.MASK_TOKEN
    assert encoded.tokens.tolist() == ([START, 60, 61, 36] if every else [START, 61])


def test_signatures_are_those_that_the_encoder_lists() -> None:
    class Listing(PitchEncoder):
        time_signatures = ((4, 4), (6, 8))
        accepts_signatures = WindowEncoder.accepts_signatures

    found = Listing().accepts_signatures(np.array([4, 6, 6]), np.array([4, 8, 4]))
    assert found is not None
    assert found.tolist() == [True, True, False]
    Listing.time_signatures = ()
    assert Listing().accepts_signatures(np.array([4]), np.array([4])) is None


def test_tokens_by_type_and_value() -> None:
    assert PitchEncoder().typed(np.array([60, START], np.int32)) == [("Pitch", 60), ("Pitch", START)]
    assert PitchEncoder().typed(np.array([], np.int32)) == []
    for foreign in (-1, START + 1):
        with pytest.raises(EncodingError, match=f"^token {foreign} is not of this encoder. Decode with the encoder"):
            PitchEncoder().typed(np.array([60, foreign], np.int32))


def test_a_grammar_comes_from_the_declaration() -> None:
    class Declaring(PitchEncoder):
        vocabulary = vocabulary_of([("Bar", 0), ("Pitch", 0)])
        token_grammar = TokenGrammar(classes={"pitch": TokenClass("Pitch", then=END)}, first=END, bar="Bar")

    assert PitchEncoder().grammar() is None
    assert isinstance(Declaring().grammar(), TableGrammar)
    assert Declaring().grammar() is not Declaring().grammar()


def test_empty_batch(corpus: Corpus) -> None:
    encoded = PitchEncoder().encode_batch(corpus, windows(0), np.zeros(0, np.int32))
    assert (len(encoded), len(encoded.tokens), encoded.offsets.tolist()) == (0, 0, [0])


def test_transposition_and_velocity(corpus: Corpus) -> None:
    batch = windows(
        2,
        tracks=np.array([[1, 0], [0, 1]], np.int32),
        transpose=np.array([70, -5], np.int32),
        velocity_scale=np.array([0.505, 2.0]),
    )
    high, low = (window_score(corpus, batch, index).columns for index in range(2))
    assert high.note_pitch.tolist() == [36, 127, 127]  # drums stay, pitches are clamped
    assert high.note_velocity.tolist() == [50, 50, 50]
    assert low.note_pitch.tolist() == [55, 56, 36]
    assert low.note_velocity.tolist() == [127, 127, 127]
    assert (low.note_pitch.dtype, low.note_velocity.dtype, low.cell_bar.dtype) == (np.uint8, np.uint8, np.int32)


def test_golden_windows_of_real_files(golden_rows: Any, midi_folder: Path) -> None:
    """Cutting by columns equals cutting the score object."""
    for row in golden_rows("tokens")[::60]:
        score = Score.from_midi(midi_folder / row["file"])
        bars, tracks = range(row["start"], row["start"] + row["bars"]), row["tracks"]
        batch = windows(
            1,
            piece=np.array([1]),
            start_bar=np.array([row["start"]], np.int32),
            num_bars=np.array([row["bars"]], np.int32),
            tracks=np.array([[*tracks, -1]], np.int32),
        )
        corpus = in_memory_corpus([piece(), score])
        document = score.to_dict()
        cut = window_score(corpus, batch, 0).to_dict()
        assert cut["bars"] == document["bars"][bars.start : bars.stop]
        for track, window_track in zip(tracks, cut["tracks"], strict=True):
            expected = [[n[0] - bars.start, *n[1:]] for n in document["tracks"][track]["notes"] if n[0] in bars]
            assert window_track["notes"] == expected


def test_tracks_with_bars_of_their_own() -> None:
    tracks = [
        {"program": n, "drum": False, "notes": [[n, 0, 1, n, 1, 0]], "bars": [[4, 4, 4.0]] * (2 + n)} for n in (0, 1)
    ]
    ragged = Score.from_dict({"resolution": 480, "tempo": 1, "tracks": tracks})
    corpus = in_memory_corpus([piece(), ragged])
    assert corpus.shards[0].columns.track_bar_end is not None
    both = windows(1, piece=np.array([1]), tracks=np.array([[1, 0]], np.int32), start_bar=np.array([1], np.int32))
    cut = window_score(corpus, both, 0)
    assert [len(track.bars) for track in cut.tracks] == [2, 1]
    assert [track.notes.pitch.tolist() for track in cut.tracks] == [[1], []]


def test_pieces_of_later_shards_are_found() -> None:
    shards = [*in_memory_corpus([piece()]).shards, *in_memory_corpus([piece(), piece(program=9)]).shards]
    corpus = type(in_memory_corpus([]))(shards, np.array([0, 1, 3]))
    cut = window_score(corpus, windows(1, piece=np.array([2])), 0)
    assert cut.tracks[0].program == 9
    assert concatenate([cut.columns]).num_pieces == 1
