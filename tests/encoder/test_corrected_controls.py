"""Corrected controls against their definitions in docs/encoder.md, written here once more note by note."""

from __future__ import annotations

import math
from fractions import Fraction
from statistics import median
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.errors import ConfigError
from support.encoder import PRESETS, attributes_of, corpus_of, documents, encode, preset, windows_of

SIGNATURES = [(4, 4), (3, 4), (7, 8), (9, 16)]
CORRECTED = ("silence_proportion_corrected", "pitch_class_count", "nomml_fine")
GRID, FINE = 12, 480
PLAIN = {"resolution": GRID, "decode_resolution": 1920, "time_signatures": [f"{n}/{d}" for n, d in SIGNATURES]}
ENCODER = MidigptEncoder(
    EncoderConfig.from_mapping(PLAIN | {"attribute_controls": [{"name": name} for name in CORRECTED]})
)
SIGNED = MidigptEncoder(EncoderConfig.from_mapping(PLAIN | {"emit_delta_tokens": "signed", "velocity_levels": 128}))


@st.composite
def pieces(draw: st.DrawFn) -> dict[str, Any]:
    """One melodic track of one to four bars at 480 ticks per quarter."""
    signatures = draw(st.lists(st.sampled_from(SIGNATURES), min_size=1, max_size=4))
    bars = [[n, d, 4 * n / d] for n, d in signatures]
    notes = []
    for bar, (*_, length) in enumerate(bars):
        onsets = st.integers(0, int(length * FINE) - 1)
        on_grid = st.integers(0, int(length * 24) - 1).map(lambda step: step * 20)
        rows = st.tuples(onsets | on_grid, st.sampled_from([1, 120, 480, 961, 4000]), st.integers(30, 90))
        notes += [[bar, *row, 90, 0] for row in sorted(draw(st.lists(rows, max_size=6)))]
    track = {"program": 0, "drum": False, "notes": notes}
    return {"resolution": FINE, "tempo": 500000, "bars": bars, "tracks": [track]}


def attributes(content: dict[str, Any], encoder: MidigptEncoder = ENCODER) -> dict[str, int]:
    bars = len(content["bars"])
    values = encoder.compute_attributes(corpus_of(content), windows_of([{"bars": bars}]))
    return attributes_of(encoder, values[0], 1, bars)[0]


def depth(onset: int) -> int:
    """The first grid that the onset lies on: halves of the quarter, then triplets.

    See docs/encoder-specification.md, E.2, 11."""
    quarters = Fraction(onset, FINE)
    straight = [2 * i for i in range(6) if (quarters * 2**i).denominator == 1]
    triplets = [2 * i + 1 for i in range(6) if (quarters * 3 * 2**i / 2).denominator == 1]
    return (straight or triplets or [12])[0]


@given(pieces())
@settings(deadline=None)
def test_values_are_those_of_the_definitions(content: dict[str, Any]) -> None:
    notes = content["tracks"][0]["notes"]
    lengths = [round(length * GRID) for *_, length in content["bars"]]
    starts = np.cumsum([0, *lengths])
    sounding = np.zeros(starts[-1], bool)
    for bar, onset, duration, *_ in notes:
        begin = starts[bar] + onset * GRID // FINE
        sounding[begin : begin + max(1, duration * GRID // FINE)] = True
    expected = {
        "silence_proportion_corrected": min(9, int(10 * (len(sounding) - int(sounding.sum())) / len(sounding))),
        "nomml_fine": math.floor(median([depth(note[1]) for note in notes])) if notes else 12,
    }
    for bar in range(len(lengths)):
        expected[f"bar_PitchClassCount_{bar}"] = len({note[3] % 12 for note in notes if note[0] == bar})
    assert attributes(content) == expected


def test_the_level_of_the_source_goes_before_a_computed_one() -> None:
    content = {**PIECE, "tracks": [{**PIECE["tracks"][0], "attributes": {"_nomml_raw": 9}}]}
    assert attributes(PIECE)["nomml_fine"] == 0
    assert attributes(content)["nomml_fine"] == 9
    assert "nomml" in ENCODER.provides


PIECE = {
    "resolution": FINE,
    "tempo": 500000,
    "bars": [[4, 4, 4.0]] * 2,
    "tracks": [{"program": 0, "drum": False, "notes": [[0, 0, 480, 60, 90, 0], [1, 960, 480, 64, 90, 0]]}],
}


def test_tokens_stand_after_those_of_the_public_format_and_decode_under_their_names() -> None:
    windows = windows_of([{"bars": 2}])
    batch = encode(ENCODER, corpus_of(PIECE), windows)
    names = [ENCODER.vocabulary.name(token) for token in batch.tokens.tolist()]
    assert names[1:6] == ["Track(0)", "Instrument(0)", "RestPercentage(7)", "TrackLevelNomml(0)", "Bar(0)"]
    assert names.count("PitchClassCount(1)") == 2
    decoded = ENCODER.decode(batch.tokens).tracks[0].attributes
    values = {"silence_proportion_corrected": 7, "nomml_fine": 0}
    assert decoded == values | {f"bar_PitchClassCount_{bar}": 1 for bar in range(2)}


def test_types_of_corrected_controls_mean_nothing_without_them() -> None:
    domains = [
        ("Track", 2),
        ("TrackEnd", 1),
        ("Bar", 1),
        ("BarEnd", 1),
        ("RestPercentage", 10),
        ("PitchClassCount", 13),
    ]
    listed = [{"type": name, "domain_size": size} for name, size in domains]
    encoder = MidigptEncoder(EncoderConfig.from_mapping({"token_domains": listed}))
    assert encoder.vocabulary.attributes == ()
    names = {encoder.vocabulary.name(token): token for token in range(encoder.vocab_size)}
    tokens = [names[name] for name in ("Track(0)", "RestPercentage(3)", "Bar(0)", "PitchClassCount(4)", "BarEnd(0)")]
    assert encoder.decode(np.array(tokens, np.int32)).tracks[0].attributes == {}


def test_nomml_fine_takes_the_place_of_nomml() -> None:
    both = [{"name": "nomml"}, {"name": "nomml_fine"}]
    for order in (both, both[::-1]):
        config = EncoderConfig.from_mapping({"attribute_controls": order})
        assert [name for name, _ in config.codebook.attributes] == [order[-1]["name"]]


@given(pieces(), st.integers(-240, 240))
@settings(deadline=None)
def test_signed_deltas_say_every_onset(content: dict[str, Any], microtiming: int) -> None:
    """Every note comes back within half of the smallest step that a delta can say, and none is at the last delta for
    want of a larger one."""
    for note in content["tracks"][0]["notes"]:
        note[5] = microtiming if note[1] else abs(microtiming)
    windows = windows_of([{"bars": len(content["bars"])}])
    batch = encode(SIGNED, corpus_of(content), windows)
    decoded = SIGNED.decode(batch.tokens)

    def onsets(notes: Any, resolution: int) -> list[tuple[int, int, Fraction]]:
        rows = [
            (bar, pitch, Fraction(onset * resolution + delta, resolution**2))
            for bar, onset, _, pitch, _, delta in notes
        ]
        return sorted(rows)

    wanted = onsets(content["tracks"][0]["notes"], FINE)
    found = onsets(decoded.to_dict()["tracks"][0]["notes"], 1920)
    # Two notes of one pitch may trade places where their onsets become one.
    step = Fraction(1, GRID**2)
    for (bar, pitch, onset), (bar_found, pitch_found, onset_found) in zip(wanted, found, strict=True):
        assert (bar_found, pitch_found) == (bar, pitch)
        assert abs(onset_found - onset) <= step / 2 + Fraction(1, 1920)


def test_deltas_have_a_sign_and_reach_the_end_of_a_bar() -> None:
    def written(onset: int) -> list[str]:
        notes = [[0, onset, 480, 60, 90, 0]]
        content = {**PIECE, "tracks": [{"program": 0, "drum": False, "notes": notes}]}
        tokens = encode(SIGNED, corpus_of(content), windows_of([{"bars": 1}])).tokens.tolist()
        kinds = ("TimeAbsolutePos", "Delta")
        return [name for name in map(SIGNED.vocabulary.name, tokens) if name.startswith(kinds)]

    assert written(480) == ["TimeAbsolutePos(12)"]
    assert written(470) == ["TimeAbsolutePos(12)", "DeltaDirection(0)", "Delta(3)"]
    assert written(490) == ["TimeAbsolutePos(12)", "Delta(3)"]
    assert written(10) == ["Delta(3)"]
    # Halfway goes up, with the largest negative delta.
    assert written(20) == ["TimeAbsolutePos(1)", "DeltaDirection(0)", "Delta(6)"]
    # There is no position 48 in a bar of four quarters.
    assert written(1919) == ["TimeAbsolutePos(47)", "Delta(12)"]


def test_microtiming_switched_off_leaves_the_nearest_positions() -> None:
    config = PLAIN | {"emit_delta_tokens": "signed", "switchable_microtiming": True}
    encoder = MidigptEncoder(EncoderConfig.from_mapping(config))
    content = {**PIECE, "tracks": [{"program": 0, "drum": False, "notes": [[0, 470, 480, 60, 90, 0]]}]}
    tokens = encode(encoder, corpus_of(content), windows_of([{"bars": 1, "use_microtiming": 0}])).tokens.tolist()
    names = [encoder.vocabulary.name(token) for token in tokens]
    assert "TimeAbsolutePos(12)" in names
    assert not any(name.startswith("Delta") for name in names)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"emit_delta_tokens": "nearest"}, "emit_delta_tokens: 'nearest' is not valid here"),
        ({"emit_delta_tokens": 1}, "emit_delta_tokens: 1 is not valid here"),
        ({"time_signatures": []}, "signed deltas need time_signatures"),
        ({"token_domains": {"Delta": 12}}, "signed deltas need Delta of at least 13"),
        ({"token_domains": {"DeltaDirection": None}}, "signed deltas need DeltaDirection of at least 1"),
        ({"token_domains": {"TimeAbsolutePos": None}}, "signed deltas need TimeAbsolutePos of at least 1"),
    ],
)
def test_signed_deltas_want_all_that_they_need(change: dict[str, Any], message: str) -> None:
    config = SIGNED.config.to_dict()
    sizes = {row["type"]: row["domain_size"] for row in config["token_domains"]} | change.pop("token_domains", {})
    config["token_domains"] = [{"type": name, "domain_size": size} for name, size in sizes.items() if size]
    with pytest.raises(ConfigError, match=message):
        EncoderConfig.from_mapping(config | change)


def test_configurations_are_stored_and_read_back() -> None:
    config = SIGNED.config.to_dict() | {"attribute_controls": [{"name": name} for name in CORRECTED]}
    stored = EncoderConfig.from_mapping(config).to_dict()
    again = EncoderConfig.from_mapping(stored)
    assert again.to_dict() == stored
    assert stored["emit_delta_tokens"] == "signed"
    assert sorted(name for name, _ in again.codebook.attributes) == sorted(CORRECTED)


@pytest.mark.parametrize("name", PRESETS)
def test_no_preset_has_one(name: str) -> None:
    config = preset(name).config
    assert config.emit_delta_tokens in (True, False)
    assert not set(CORRECTED) & {control.name for control in config.attribute_controls}


def test_a_corrected_control_changes_no_other_token() -> None:
    """Taken out, the corrected attributes leave the tokens of the configuration without them."""
    base = preset("expressive").config.to_dict()
    controls = [row for row in base["attribute_controls"] if row["name"] != "nomml"]
    plain = MidigptEncoder(EncoderConfig.from_mapping(base))
    corrected = MidigptEncoder(
        EncoderConfig.from_mapping(base | {"attribute_controls": [*controls, *({"name": n} for n in CORRECTED)]})
    )
    kinds = ("RestPercentage", "PitchClassCount", "TrackLevelNomml")

    def names(encoder: MidigptEncoder) -> list[str]:
        tokens = documents(encode(encoder, corpus_of(PIECE), windows_of([{"bars": 2, "window_bars": 4}])))[0]
        return [name for name in map(encoder.vocabulary.name, tokens) if not name.startswith(kinds)]

    assert names(plain) == names(corrected)
    # Both are written where they say something (tests/encoder/test_positions.py, test_plugin_attributes.py).
    assert attrs.fields_dict(EncoderConfig).keys() == base.keys() | {"infill_positions", "attributes"}
