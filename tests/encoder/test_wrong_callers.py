"""Callers that are wrong get an exception that names the field, never a crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from midigpt_core.records import Corpus, TokenStatus
from support.encoder import corpus_of, documents, encode, golden_batch, piece, preset, same, status_of, windows_of

if TYPE_CHECKING:
    from midigpt_core.records import WindowBatch

YELLOW = preset("yellow")
GHOST = preset("ghost")
CORPUS = corpus_of(piece(), piece(tracks=1), piece(tracks=4))


def changed(name: str, value: Any, index: Any = 0) -> WindowBatch:
    windows = windows_of([{"tracks": (0, 1), "bars": 4}] * 2)
    array = getattr(windows, name).copy()
    array[index] = value
    return attrs.evolve(windows, **{name: array})


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (changed("piece", 3), "window 0: piece 3 is not one of 3"),
        (changed("piece", -1), "window 0: piece -1 is not one of 3"),
        (changed("start_bar", 5, 1), "window 1: start_bar 5 and num_bars 4 leave the piece"),
        (changed("start_bar", -1), "leave the piece"),
        (changed("num_bars", 9), "leave the piece"),
        (changed("num_bars", -1), "leave the piece"),
        (changed("num_bars", 5), r"or the B axis"),
        (changed("start_bar", 2**31 - 1), "leave the piece"),
        (changed("tracks", 3), "track 3 is not one of 3"),
        (changed("tracks", -2), "track -2 is not one of 3"),
        (changed("masked_as", 3), "unknown masked_as"),
    ],
)
def test_windows_that_leave_the_corpus(windows: WindowBatch, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(YELLOW, CORPUS, windows)
    with pytest.raises(ValueError, match=message):
        YELLOW.compute_attributes(CORPUS, windows)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("piece", np.zeros(2, np.int32), TypeError),
        ("piece", [0, 0], TypeError),
        ("piece", np.zeros((2, 1), np.int64), ValueError),
        ("tracks", np.zeros((3, 2), np.int32), ValueError),
        ("infill", np.zeros((2, 2, 4), np.uint8), TypeError),
        ("masked", np.zeros((2, 2, 3), bool), ValueError),
        ("velocity_scale", np.ones(2, np.float32), TypeError),
        ("velocity_scale", None, TypeError),
        ("genre", np.zeros(1, np.int32), ValueError),
        ("attributes_kept", np.zeros((2, 4), bool), ValueError),
        ("attribute_values", np.zeros((2, 2, 4, 5), np.int16), ValueError),
    ],
)
def test_fields_of_the_wrong_kind(field: str, value: Any, error: type[Exception]) -> None:
    windows = attrs.evolve(windows_of([{"tracks": (0, 1), "bars": 4}] * 2), **{field: value})
    with pytest.raises(error):
        encode(YELLOW, CORPUS, windows)


def test_max_tokens_of_the_wrong_shape() -> None:
    with pytest.raises(ValueError, match="max_tokens"):
        YELLOW.encode_batch(CORPUS, windows_of([{"bars": 4}]), np.zeros(2, np.int32))


def test_arrays_in_another_order_are_taken_as_they_mean() -> None:
    windows = windows_of([{"tracks": (0, 2, 1), "bars": 4}, {"tracks": (1,), "bars": 8}])
    turned = attrs.evolve(windows, tracks=np.asfortranarray(windows.tracks), infill=np.asfortranarray(windows.infill))
    assert same(encode(YELLOW, CORPUS, turned), encode(YELLOW, CORPUS, windows))


def test_absurd_transposition_scale_and_genre_are_clamped() -> None:
    request = {"bars": 4, "transpose": 2**31 - 1, "velocity_scale": np.inf, "genre": 2**31 - 1}
    batch = encode(preset("prism"), CORPUS, windows_of([request]))
    names = {preset("prism").vocabulary.name(token) for token in documents(batch)[0]}
    assert status_of(batch) == [TokenStatus.OK]
    assert {"NoteOnset(127)", "VelocityLevel(31)", "Genre(17)"} <= names


def test_damaged_columns_raise_and_never_crash() -> None:
    rng = np.random.default_rng(5)
    corpus, windows = golden_batch()
    shard = corpus.shards[0]
    fields = ["track_offsets", "bar_offsets", "cell_offsets", "note_offsets", "track_cell_end", "cell_bar"]
    fields += ["cell_note_end", "note_onset", "note_duration", "note_pitch", "note_microtiming", "track_program"]
    fields += ["bar_numerator", "bar_denominator", "bar_length"]
    raised = 0
    for turn in range(150):
        field = fields[turn % len(fields)]
        array = getattr(shard.columns, field).copy()
        spots = rng.integers(0, len(array), 3)
        if array.dtype == np.float64:
            array[spots] = rng.choice([np.nan, np.inf, -1e300, 1e300, 0.0], 3)
        else:
            limits = np.iinfo(array.dtype)
            array[spots] = rng.integers(limits.min, limits.max, 3, dtype=array.dtype, endpoint=True)
        damaged = attrs.evolve(shard, columns=attrs.evolve(shard.columns, **{field: array}))
        try:
            batch = encode(GHOST, Corpus([damaged], corpus.piece_offsets), windows, 600)
        except ValueError as error:
            assert "contradict" in str(error) or "leave the piece" in str(error) or "is not one of" in str(error)
            raised += 1
        else:
            assert batch.tokens.max() < GHOST.vocab_size
    assert raised > 25


def test_columns_of_unequal_lengths_are_refused() -> None:
    shard = CORPUS.shards[0]
    short = attrs.evolve(shard, columns=attrs.evolve(shard.columns, note_pitch=shard.columns.note_pitch[:-1]))
    with pytest.raises(ValueError, match="note_pitch"):
        encode(YELLOW, Corpus([short], CORPUS.piece_offsets), windows_of([{"bars": 4}]))
    with pytest.raises(ValueError, match="piece_offsets"):
        encode(YELLOW, Corpus(CORPUS.shards, np.array([0, 4])), windows_of([{"bars": 4}]))
