"""Attribute controls of plugins in generation: asked for, reached, served, and missing."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient
from midigpt_encoder import plugin_attributes
from midigpt_encoder.config import EncoderConfig
from midigpt_encoder.encoder import MidigptEncoder
from midigpt_gpt2.factory import build as build_gpt2
from midigpt_gpt2.options import Gpt2Options
from midigpt_server.app import build_app
from midigpt_server.models import Model, Models
from midigpt_server.settings import ModelSettings, ServerSettings

from midigpt_core.checkpoint import read_header, save_bundle
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.cli import main
from midigpt_core.contracts import ArchitectureContext, BundleHeader, PluginAttribute
from midigpt_core.errors import MidigptError
from midigpt_core.inference import GenerationRequest, InferenceConfig, TrackPrompt
from midigpt_core.inference.outcome import outcomes
from midigpt_core.score import Score
from support.inference import engine, notes_inside
from support.serving import body

if TYPE_CHECKING:
    from midigpt_core.inference import InferenceEngine

BACH_PATH = Path(__file__).resolve().parents[1] / "data" / "midi" / "mutopia_bach_invention_08.mid"
SYNCOPATION, ENTROPY = NAMES = ("attributes/syncopation", "attributes/chroma-entropy")
BARS = (8, 9)


@pytest.fixture
def made() -> InferenceEngine:
    return engine(attributes=NAMES)


@pytest.mark.parametrize("autoregressive", [False, True])
def test_a_level_that_is_asked_for_is_written_and_measured(made: InferenceEngine, autoregressive: bool) -> None:
    prompt = TrackPrompt(
        id=1, bars=BARS, autoregressive=autoregressive, attributes={ENTROPY: 4}, bar_attributes={9: {SYNCOPATION: 3}}
    )
    score = Score.from_midi(BACH_PATH)
    session = made.session(score, GenerationRequest([prompt], InferenceConfig(seed=1)))
    scores = session.run_variations()
    (outcome,) = outcomes(session, scores, made.encoder)
    assert outcome.notes == notes_inside(scores[0], {(1, bar) for bar in BARS})
    assert [(each.name, each.bar, each.requested) for each in outcome.attributes] == [
        (ENTROPY, None, 4), (SYNCOPATION, 9, 3),
    ]  # fmt: skip
    assert all(each.reached is not None or not outcome.notes for each in outcome.attributes)


def test_a_level_that_does_not_exist_is_refused(made: InferenceEngine) -> None:
    prompt = TrackPrompt(id=1, bars=BARS, bar_attributes={9: {SYNCOPATION: 8}})
    with pytest.raises(MidigptError, match=r"attributes/syncopation is 8\. Levels are 0 to 7"):
        made.session(Score.from_midi(BACH_PATH), GenerationRequest([prompt], InferenceConfig(seed=1)))


def test_a_server_lists_and_takes_them(made: InferenceEngine) -> None:
    shared = copy.copy(made)
    shared._reader = None
    shared.share_reader()
    models = Models([Model("one", "one.pt", shared, ThreadPoolExecutor(1))])
    settings = ServerSettings(models=[ModelSettings(id="one")])
    client = TestClient(build_app(models, settings, lambda: None), base_url="http://127.0.0.1:3456")
    info = client.get("/info").json()
    assert {name: info["attributes"][name] for name in NAMES} == {SYNCOPATION: 8, ENTROPY: 8}
    assert [info["attribute_levels"][name] for name in NAMES] == ["bar", "track"]
    assert [info["attribute_track_types"][name] for name in NAMES] == ["both", "melodic"]
    request = body(1)
    request["request"]["tracks"][0] |= {"attributes": {ENTROPY: 2}, "bar_attributes": {"1": {SYNCOPATION: 1}}}
    assert client.post("/generate", json=request).status_code == 200
    request["request"]["tracks"][0]["attributes"] = {ENTROPY: 9}
    refused = client.post("/generate", json=request)
    assert refused.status_code == 422
    assert "attributes/chroma-entropy is 9" in refused.text


@pytest.fixture
def bundle(made: InferenceEngine, tmp_path: Path) -> Path:
    """Trained with the bundled attributes and with one whose plugin is not here."""
    unknown = PluginAttribute(
        name="acme/groove", level="bar", levels=5, track_type="both", distribution="midigpt-plugin-acme", target="a:b"
    )
    config = EncoderConfig.from_preset("yellow").with_attributes([*made.encoder.plugin_attributes, unknown])
    encoder = MidigptEncoder(config)
    model = build_gpt2(
        Gpt2Options(n_embd=16, n_layer=1, n_head=1),
        ArchitectureContext(vocab_size=encoder.vocab_size, max_seq_len=1024),
    )
    header = BundleHeader(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="midigpt",
        encoder_config=encoder.to_config(),
    )
    return save_bundle(with_weights(header, model.state_dict()), tmp_path / "small.pt")


def test_a_bundle_names_its_attributes_and_their_distributions(bundle: Path) -> None:
    stored = json.loads(json.dumps(read_header(str(bundle)).encoder_config["attributes"]))
    assert [(entry["name"], entry["distribution"], entry["levels"]) for entry in stored] == [
        (SYNCOPATION, "midigpt-core", 8), (ENTROPY, "midigpt-core", 8), ("acme/groove", "midigpt-plugin-acme", 5),
    ]  # fmt: skip


def test_a_bundle_without_its_plugin_generates_and_says_what_is_missing(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    plugin_attributes._warn.cache_clear()
    inputs = ("--checkpoint", str(bundle), "--input", str(BACH_PATH))
    command = ["generate", *inputs, "--track", "1", "--bars", "8-9", "--output"]
    levels = ("--attribute", "syncopation=2", "--attribute", "1:chroma-entropy=3")
    assert main([*command, str(tmp_path / "whole"), *levels]) == 0
    said = capsys.readouterr()
    assert caplog.text.count("acme/groove of midigpt-plugin-acme, which is not installed") == 1
    assert "chroma-entropy" in said.out
    assert [*(tmp_path / "whole").glob("*.mid")]
    assert main([*command, str(tmp_path / "refused"), "--attribute", "acme/groove=2"]) == 2
    refused = capsys.readouterr().err
    assert "acme/groove: its plugin is not installed here" in refused
    assert "Install midigpt-plugin-acme" in refused
