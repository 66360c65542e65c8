"""Configurations: what is read, what is refused and how, names, genres, instruments, the plugin itself."""

from __future__ import annotations

import json
import logging
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from midigpt_encoder import _encoder, plugin
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.data_files import load_preset, preset_names
from midigpt_encoder.factory import EncoderOptions, build

from midigpt_core.contracts import EncoderContext
from midigpt_core.errors import ConfigError
from support.encoder import PRESETS, preset

if TYPE_CHECKING:
    from pathlib import Path

NOTE_CONTROLS = {"pitch_mask", "rhythm_mask", "remix"}
YELLOW_CAPABILITIES = {"infill", "placeholder_positions", *NOTE_CONTROLS}

REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"resolution": "12"}, "resolution: '12' is not an integer"),
    ({"resolution": None}, "resolution: null is not an integer"),
    ({"resolution": True}, "resolution: true is not an integer"),
    ({"resolution": float("nan")}, "resolution: nan is not an integer"),
    ({"resolution": 0}, "resolution: must be 1.."),
    ({"resolution": 10**12}, "resolution: 1000000000000 is out of range"),
    ({"decode_resolution": -480}, "decode_resolution: must be 1.."),
    ({"velocity_levels": 0}, "velocity_levels: must be 1.."),
    ({"note_duration_max_beats": 0}, "note_duration_max_beats: must be at least 1"),
    ({"resolution": 65536, "note_duration_max_beats": 2**30}, "tokens in all"),
    ({"supports_infill": 1}, "supports_infill: 1 is not a boolean"),
    ({"supports_infill": "false"}, "supports_infill: 'false' is not a boolean"),
    ({"pitch_range": [0]}, "pitch_range: must be two pitches"),
    ({"pitch_range": [60, 50]}, "pitch_range: must be two pitches"),
    ({"pitch_range": [0, 128]}, "pitch_range: must be two pitches"),
    ({"time_signatures": "4/4"}, "time_signatures: '4/4' is not a list"),
    ({"time_signatures": ["4/4", "44"]}, "time_signatures[1]: '44' is not a time signature"),
    ({"time_signatures": ["four/4"]}, "time_signatures[0]: 'four/4' is not a time signature"),
    ({"time_signatures": ["4/0"]}, "time_signatures[0]: '4/0' has denominator 0"),
    ({"time_signatures": ["4/-4"]}, "time_signatures[0]: '4/-4' is not a time signature"),
    ({"time_signatures": [4]}, "time_signatures[0]: 4 is not a string"),
    ({"instrument_merge_groups": [[0, 128]]}, "instrument_merge_groups: programs are 0..127"),
    ({"instrument_merge_groups": [3]}, "instrument_merge_groups[0]: 3 is not a list"),
    ({"genre_groups": ["rock"]}, "genre_groups: ['rock'] is not an object"),
    ({"genre_groups": {"rock": "metal"}}, "genre_groups.rock: 'metal' is not a list"),
    ({"num_bars_map": 4}, "num_bars_map: 4 is not a list"),
    ({"num_bars_map": [4, 200_000_000]}, "num_bars_map[1]: a window cannot have 200000000 bars. Write 1 to 20000"),
    ({"num_bars_map": [0]}, "num_bars_map[0]: a window cannot have 0 bars"),
    ({"num_bars_map": [10**30]}, "num_bars_map[0]: 1000000000000000000000000000000 is out of range"),
    ({"resolution": 10**400}, "is out of range. Write a number of at most 31 bits"),
    ({"resolution": 10**5000}, "resolution: an integer of 16,610 bits is out of range"),
    ({"time_signatures": ["9" * 5000 + "/4"]}, "is not a time signature"),
    ({"attribute_controls": [{}]}, "attribute_controls[0]: has no 'name'"),
    ({"attribute_controls": [{"name": "pitch_rang"}]}, "Did you mean 'pitch_range'?"),
    (
        {"attribute_controls": [{"name": "polyphony_quantile"}]},
        "[0].params: polyphony_quantile needs",
    ),
    (
        {"attribute_controls": [{"name": "polyphony_quantile", "params": {"mode": "mid"}}]},
        "attribute_controls[0].params.mode: no mode named 'mid'",
    ),
    (
        {"attribute_controls": [{"name": "silence_proportion", "params": {"level": "bar"}}]},
        "attribute_controls[0].params.level: no level named 'bar'",
    ),
    (
        {"attribute_controls": [{"name": "pitch_class_set", "params": {"level": "track"}}]},
        "attribute_controls[0].params.level: no level named 'track'",
    ),
    (
        {"attribute_controls": [{"name": "note_density_quantile", "params": {"track_type": "drums"}}]},
        "Did you mean 'drum'?",
    ),
    ({"token_domains": [{"type": "PeiceStart", "domain_size": 1}]}, "Did you mean 'PieceStart'?"),
    ({"token_domains": [{"type": "?", "domain_size": 1}]}, " more."),
    ({"token_domains": [{"type": "Track"}]}, "token_domains[0]: has no 'domain_size'"),
    ({"token_domains": [{"type": "Track", "domain_size": 0}]}, "the size of Track must be at least 1"),
    (
        {"token_domains": [{"type": "NoteDuration", "domain_size": 2}, {"type": "NoteDurationDist", "domain_size": 2}]},
        "NoteDuration is listed twice",
    ),
    ({"token_domains": [{"type": "Track", "domain_size": 2**30}]}, "tokens in all"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        EncoderConfig.from_mapping(content, "my.json")
    assert str(error.value).startswith("my.json: ")
    assert message in str(error.value)
    assert len(str(error.value)) < 1000


def test_reals_are_cut_and_names_have_many_spellings() -> None:
    domains = [("TOKEN_TIME_SIGNATURE", 2.9), ("PitchRange", 128), ("TOKEN_PITCH", 3), ("PieceEnd", 1)]
    config = EncoderConfig.from_mapping(
        {"resolution": 12.7, "token_domains": [{"type": name, "domain_size": size} for name, size in domains]}
    )
    assert config.resolution == 12
    assert config.token_domains == (("TimeSig", 2), ("TrackLevelPitchRangeMax", 128), ("NotePitch", 3), ("None", 1))


def test_every_spelling_means_one_type() -> None:
    rows = _encoder.token_types()
    spellings = [spelling for row in rows for spelling in row[1:] if spelling]
    assert len(rows) == 75
    assert len(set(spellings)) == len(spellings)
    assert [number for number, *_ in rows] == sorted({number for number, *_ in rows})
    assert {name for _, name, legacy, _ in rows if not legacy} == {"UseVelocity", "UseMicrotiming", "TrackLevelNomml"}


def test_unknown_keys_are_left_out_in_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    content = {
        "model_dim": 4,
        "attribute_controls": [{"name": "pitch_range", "params": {"mode": "min"}}],
        "token_domains": [{"type": "Bar", "domain_size": 1, "colour": "red"}],
    }
    with caplog.at_level(logging.WARNING):
        config = EncoderConfig.from_mapping(content, "old.json")
    assert [record.getMessage() for record in caplog.records] == [
        "old.json: left out unknown keys: model_dim, attribute_controls[0].params.mode, token_domains[0].colour"
    ]
    assert config.attribute_controls[0].name == "pitch_range"


def test_switchable_microtiming_implies_delta_tokens() -> None:
    config = EncoderConfig.from_mapping({"switchable_microtiming": True, "emit_delta_tokens": False})
    assert config.emit_delta_tokens
    assert ("Delta", 240) in config.codebook.domains


@pytest.mark.parametrize("name", PRESETS)
def test_presets_serialise_and_travel(name: str) -> None:
    config = EncoderConfig.from_preset(name)
    stored = config.to_dict()
    assert json.loads(json.dumps(stored)) == stored
    assert EncoderConfig.from_mapping(stored).to_dict() == stored
    assert pickle.loads(pickle.dumps(config)) == config
    assert stored["token_domains"] == [{"type": type_, "domain_size": size} for type_, size in config.codebook.domains]


def test_genres() -> None:
    groups = {"rock": ["Metal", "shared"], "Jazz": [], "b": ["x", "SHARED"]}
    encoder = build(EncoderOptions(config={"genre_groups": groups}), EncoderContext())
    # Canonical names in byte order: "Jazz", "b", "rock"; the last group that has a name wins it.
    names = ("jazz", "B", "x", "ROCK", "metal", "shared", "polka", "")
    assert [encoder.genre_id(name) for name in names] == [0, 1, 1, 2, 2, 2, -1, -1]
    assert encoder.provides == {"genre", "pitch_mask"}


@pytest.mark.parametrize(
    ("name", "capabilities", "window_sizes"),
    [
        ("yellow", YELLOW_CAPABILITIES, (4, 8)),
        ("ghost", {*YELLOW_CAPABILITIES, "mask_bar"}, (4, 8, 12, 16)),
        ("prism", {*YELLOW_CAPABILITIES, "genre"}, (4, 8, 12, 16)),
        (
            "expressive",
            {*YELLOW_CAPABILITIES, "genre", "use_velocity", "use_microtiming", "nomml"},
            (4, 8, 12, 16),
        ),
    ],
)
def test_capabilities(name: str, capabilities: set[str], window_sizes: tuple[int, ...]) -> None:
    assert preset(name).provides == capabilities
    assert preset(name).window_sizes == window_sizes


def test_signatures() -> None:
    accepted = preset("yellow").accepts_signatures([4, 4, 3, 19, 0], [4, 5, 4, 8, 0])
    assert accepted is not None
    assert accepted.tolist() == [True, False, True, False, False]
    assert build(EncoderOptions(config={}), EncoderContext()).accepts_signatures([19], [8]) is None


def test_options_take_presets_files_and_mappings(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(load_preset("ghost")))
    sizes = {build(EncoderOptions(config=config), EncoderContext()).vocab_size for config in ("ghost", str(path))}
    assert sizes == {build(EncoderOptions(config=load_preset("ghost")), EncoderContext()).vocab_size} == {650}
    assert build(EncoderOptions(), EncoderContext()).vocab_size == 647


def test_options_that_lead_nowhere(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    bundle = tmp_path / "model.pt"
    bundle.write_bytes(b"PK\x03\x04\x80\xff")
    for config, message in [
        ("yelow", "'yelow' is neither a preset nor a file. Presets: expressive, ghost, prism, yellow"),
        (str(tmp_path / "none.json"), "none.json: cannot be read"),
        (str(broken), "broken.json: is not JSON"),
        (
            str(bundle),
            "model.pt: is neither JSON nor text. Name a JSON file or a preset; for the encoder of a bundle use",
        ),
    ]:
        with pytest.raises(ConfigError, match=r"preset|cannot be read|not JSON|neither JSON") as error:
            build(EncoderOptions(config=config), EncoderContext())
        assert message in str(error.value)


def test_plugin_names_the_presets_and_loads_nothing_heavy() -> None:
    (spec,) = plugin.midigpt_encoders()
    assert tuple(spec.presets) == preset_names() == PRESETS
    assert spec.provides <= YELLOW_CAPABILITIES
    code = (
        "import sys, midigpt_encoder.plugin as p; p.midigpt_encoders();"
        "sys.exit(bool({'numpy', 'midigpt_encoder._encoder'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_codebook_refuses_settings_that_no_configuration_makes() -> None:
    with pytest.raises(ValueError, match="resolution is missing"):
        _encoder.Codebook({})
    with pytest.raises(TypeError):
        _encoder.Codebook(None)
