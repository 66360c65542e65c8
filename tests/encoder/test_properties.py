"""Properties over random scores, configurations and tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midigpt_encoder import _encoder
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.errors import EncodingError
from midigpt_core.records import TokenStatus
from midigpt_core.score.columns import in_memory_corpus
from support.encoder import PRESETS, corpus_of, documents, encode, preset, windows_of

if TYPE_CHECKING:
    from midigpt_core.score import Score

SIGNATURES = [(4, 4), (3, 4), (7, 8), (6, 8)]
RESOLUTION = 480


@st.composite
def scores(draw: st.DrawFn) -> dict[str, Any]:
    """Up to three tracks of four bars at 480 ticks per quarter; notes start within their bar and are audible."""
    signatures = draw(st.lists(st.sampled_from(SIGNATURES), min_size=4, max_size=4))
    bars = [[n, d, 4 * n / d] for n, d in signatures]
    tracks = []
    for _ in range(draw(st.integers(0, 3))):
        seed = draw(st.integers(0, 2**32 - 1))
        rng = np.random.default_rng(seed)
        notes = []
        for bar, (*_, length) in enumerate(bars):
            count = int(rng.integers(0, 8))
            onsets = rng.integers(0, int(length * RESOLUTION), count)
            onsets[rng.random(count) < 0.4] = onsets[0] if count else 0  # chords
            for onset in np.sort(onsets):
                duration = int(rng.choice([1, 39, 40, 240, 481, 5000]))
                delta = int(rng.choice([0, 0, -240, -17, 100, 240]))
                notes.append([bar, int(onset), duration, int(rng.integers(0, 128)), int(rng.integers(1, 128)), delta])
        tracks.append({"program": int(rng.integers(0, 128)), "drum": bool(rng.random() < 0.3), "notes": notes})
    return {"resolution": RESOLUTION, "tempo": 500000, "bars": bars, "tracks": tracks}


#: Every attribute control at every level, the corrected ones among them.
CONTROLS: list[dict[str, Any]] = [
    {"name": info["name"], "params": {"level": level} | ({"mode": mode} if mode else {})}
    for info in _encoder.attribute_controls()
    for level in info["levels"]
    for mode in (("min", "max") if info["needs_mode"] else ("",))
]


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    resolution = draw(st.sampled_from([4, 12, 24]))
    return {
        "resolution": resolution,
        "decode_resolution": resolution * draw(st.sampled_from([1, 20, 160])),
        "emit_delta_tokens": draw(st.sampled_from([False, True, "signed"])),
        "supports_infill": True,
        "supports_mask_bar_token": draw(st.booleans()),
        "velocity_sticky": draw(st.booleans()),
        "switchable_velocity": draw(st.booleans()),
        "switchable_microtiming": draw(st.booleans()),
        "velocity_levels": draw(st.sampled_from([2, 8, 32, 127, 128])),
        "pitch_range": draw(st.sampled_from([[0, 127], [36, 50]])),
        "note_duration_max_beats": draw(st.sampled_from([1, 8])),
        "time_signatures": [f"{n}/{d}" for n, d in SIGNATURES],
        "instrument_merge_groups": draw(st.sampled_from([[], [[0, 1, 2], [9, 8]]])),
        "num_bars_map": [4],
        "attribute_controls": draw(st.lists(st.sampled_from(CONTROLS), max_size=5)),
    }


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    cells = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=4)
    switch = st.sampled_from([-1, 0, 1])
    return {
        "fill": draw(cells),
        "mask": draw(cells),
        "use_velocity": draw(switch),
        "use_microtiming": draw(switch),
        "span_masks": draw(st.booleans()),
        "remove_masked": draw(st.booleans()),
    }


def for_tracks(request: dict[str, Any], tracks: int) -> dict[str, Any]:
    cells = {name: [cell for cell in request[name] if cell[0] < tracks] for name in ("fill", "mask")}
    if request["remove_masked"]:  # a removed bar has no placeholder, so it cannot be filled in
        cells["mask"] = [cell for cell in cells["mask"] if cell not in cells["fill"]]
    return {**request, **cells, "tracks": range(tracks), "bars": 4 if tracks else 0}


def values_of(encoder: MidigptEncoder, score: Score) -> np.ndarray:
    """The attributes of a decoded score of four bars as ``WindowBatch.attribute_values``."""
    controls = encoder.config.codebook.attributes
    values = np.full((1, len(score.tracks), 5 if score.tracks else 1, len(controls)), -1, np.int16)
    for track in score.tracks:
        for control, (name, spelling) in enumerate(controls):
            for place, key in enumerate([name, *(f"bar_{spelling}_{bar}" for bar in range(4))]):
                values[0, track.index, place, control] = track.attributes.get(key, -1)
    return values


@given(scores(), configurations(), requests())
@settings(max_examples=200, deadline=None)
def test_encoding_what_was_decoded_gives_the_same_tokens(
    content: dict[str, Any], config: dict[str, Any], request: dict[str, Any]
) -> None:
    encoder = MidigptEncoder(EncoderConfig.from_mapping(config))
    asked = [for_tracks(request, len(content["tracks"]))]
    first = encode(encoder, corpus_of(content), windows_of(asked))
    assert first.status[0] == TokenStatus.OK
    decoded = encoder.decode(first.tokens)
    given = windows_of(asked, attribute_values=values_of(encoder, decoded), compute_attributes=False)
    assert documents(encode(encoder, in_memory_corpus([decoded]), given)) == documents(first)
    # The attributes are now measured on the notes that are left. After that nothing changes.
    second = encode(encoder, in_memory_corpus([decoded]), windows_of(asked))
    third = encode(encoder, in_memory_corpus([encoder.decode(second.tokens)]), windows_of(asked))
    assert documents(third) == documents(second)


@given(scores(), requests(), st.sampled_from(PRESETS), st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_documents_keep_their_limit_and_their_beginning(
    content: dict[str, Any], request: dict[str, Any], name: str, limit: int
) -> None:
    encoder, corpus = preset(name), corpus_of(content)
    windows = windows_of([for_tracks(request, len(content["tracks"]))])
    whole, limited = (documents(encode(encoder, corpus, windows, tokens))[0] for tokens in (0, limit))
    batch = encode(encoder, corpus, windows, limit)
    status = TokenStatus(int(batch.status[0]))
    assert len(limited) <= limit
    assert (status == TokenStatus.OK) == (len(whole) <= limit)
    assert (status == TokenStatus.TOO_LONG) == (limited == [])
    if status == TokenStatus.CUT:
        assert whole[: len(limited)] == limited
    encoder.decode(batch.tokens)
    assert all(end <= len(limited) for _, _, end in batch.masked_spans.tolist())


@given(st.lists(st.integers(-5, 1000), max_size=80), st.sampled_from(PRESETS))
@settings(max_examples=200, deadline=None)
def test_any_known_tokens_decode_and_foreign_ones_are_refused(tokens: list[int], name: str) -> None:
    encoder = preset(name)
    foreign = [token for token in tokens if not 0 <= token < encoder.vocab_size]
    try:
        score = encoder.decode(np.array(tokens, np.int32))
    except EncodingError as error:
        assert foreign
        assert f"is {foreign[0]}, outside the vocabulary of {encoder.vocab_size}" in str(error)
    else:
        assert not foreign
        assert score.resolution == 1920


def test_blocks_without_an_end_are_refused_before_they_grow() -> None:
    vocabulary = preset("yellow").vocabulary
    first_id = {vocabulary.type_names[vocabulary.type_of[t]]: t for t in np.flatnonzero(vocabulary.value_of == 0)}
    tokens = [first_id["Track"], first_id["Bar"]]
    tokens += [first_id["FillInPlaceholder"]] * 2000 + [first_id["FillInStart"]] * 2000
    with pytest.raises(EncodingError, match="no ends"):
        preset("yellow").decode(np.array(tokens, np.int32))
