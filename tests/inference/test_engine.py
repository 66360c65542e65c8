"""The engine is the trained model, bit for bit."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest
import torch
from midigpt_encoder.config import EncoderConfig

from midigpt_core.checkpoint import load_checkpoint, save_bundle
from midigpt_core.cli.main import main
from midigpt_core.contracts import Bundle
from midigpt_core.errors import CheckpointError, EncodingError
from midigpt_core.inference import GenerationRequest, InferenceConfig, InferenceEngine, TrackPrompt
from midigpt_core.inference.forward_reader import ForwardReader
from midigpt_core.testing import music
from support.inference import engine as small_engine
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_gpt2.model import Gpt2


@pytest.fixture(scope="module")
def trained() -> Gpt2:
    return tiny_gpt2(647, 64, n_embd=32, seed=41)


@pytest.fixture(params=[".pt", ".safetensors"])
def path(request: pytest.FixtureRequest, trained: Gpt2, tmp_path: Path) -> Path:
    bundle = Bundle(
        architecture="gpt2",
        architecture_config=trained.architecture_config(),
        encoder="midigpt",
        encoder_config=EncoderConfig.from_preset("yellow").to_dict(),
        state_dict=trained.state_dict(),
    )
    return save_bundle(bundle, tmp_path / f"model_final{request.param}")


def test_logits_are_those_of_the_trained_model_bit_for_bit(path: Path, trained: Gpt2) -> None:
    engine = InferenceEngine.from_checkpoint(path, device="cpu")
    tokens = torch.randint(0, 647, (50,))
    with torch.no_grad():
        expected = trained(tokens[None])[0]
    assert expected.shape == (50, 647)
    for given in (tokens, tokens.tolist(), tokens.to(torch.int32).numpy()):
        assert torch.equal(engine.logits(given), expected)
    assert engine.encoder.vocab_size == 647
    assert not engine.model.training


def test_training_state_of_the_process_is_left_alone(path: Path) -> None:
    before = torch.random.get_rng_state()
    InferenceEngine.from_checkpoint(path)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("tokens", [[0, 647], [-1], np.array([700], dtype=np.int32)])
def test_foreign_tokens_are_an_error(path: Path, tokens: list[int]) -> None:
    engine = InferenceEngine.from_checkpoint(path)
    with pytest.raises(EncodingError, match=r"must lie in 0\.\.646"):
        engine.logits(tokens)


def test_a_file_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        InferenceEngine.from_checkpoint(tmp_path / "model_final.pt")


@pytest.mark.parametrize("kept_as", [torch.bfloat16, torch.float16, torch.float64])
def test_arithmetic_is_in_float32_whatever_type_a_bundle_keeps(path: Path, kept_as: torch.dtype) -> None:
    bundle = load_checkpoint(path)
    stored = {name: tensor.to(kept_as) for name, tensor in bundle.state_dict.items()}
    engine = InferenceEngine.from_bundle(attrs.evolve(bundle, state_dict=stored))
    widened = {name: tensor.float() for name, tensor in stored.items()}
    exact = InferenceEngine.from_bundle(attrs.evolve(bundle, state_dict=widened))
    tokens = torch.randint(0, 647, (64,), generator=torch.Generator().manual_seed(1))
    assert np.abs(engine.score_tokens(tokens) - exact.score_tokens(tokens)).max() < 1e-4
    # What music is written with, natively and through the forward pass.
    expected = exact.logits(tokens)[-1].double().log_softmax(-1).numpy()
    for reader in (engine.reader(), ForwardReader(engine.model)):
        logits = np.zeros((1, 647), np.float32)
        reader.open(1, 64).step(tokens.int().numpy(), np.arange(64, dtype=np.int32), np.array([0, 64]), logits)
        assert np.abs(torch.from_numpy(logits[0]).double().log_softmax(-1).numpy() - expected).max() < 1e-4
    # What the engine saves has the bundle's types, bit for bit.
    saved = engine.to_bundle().state_dict
    assert all(torch.equal(saved[name], tensor) and saved[name].dtype == kept_as for name, tensor in stored.items())


def test_an_engine_that_was_used_can_be_pickled_and_copied(path: Path) -> None:
    engine = InferenceEngine.from_checkpoint(path, "cpu", precision="int8")
    tokens = torch.randint(0, 647, (20,))
    expected = engine.score_tokens(tokens)
    for again in (pickle.loads(pickle.dumps(engine)), copy.deepcopy(engine)):
        assert np.array_equal(again.score_tokens(tokens), expected)
        assert again.to_bundle().provenance == engine.to_bundle().provenance


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused_on_load(
    path: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = load_checkpoint(path)
    damaged = {name: tensor.clone() for name, tensor in bundle.state_dict.items()}
    damaged["transformer.h.1.mlp.c_fc.weight"][3, 5:7] = value
    save_bundle(attrs.evolve(bundle, state_dict=damaged), path)
    with pytest.raises(CheckpointError, match=r"c_fc\.weight"):
        InferenceEngine.from_bundle(attrs.evolve(bundle, state_dict=damaged))
    for arguments in (["generate", "--continue", "1", "-o", str(path.parent / "out")], ["evaluate", "--data", "none"]):
        if arguments[0] == "generate":
            midi = path.parent / "song.mid"
            music.scores()[0].to_midi(midi)
            arguments += ["--input", str(midi)]
        assert main([*arguments, "--checkpoint", str(path)]) == 2
        said = capsys.readouterr().err
        assert f"{path}: tensor 'transformer.h.1.mlp.c_fc.weight' has 2 of 4,096 weights that are not finite" in said
        assert "Traceback" not in said


def test_weights_too_large_to_compute_with_are_an_error() -> None:
    large = copy.deepcopy(small_engine())
    with torch.no_grad():
        for parameter in large.model.parameters():
            parameter.fill_(1e30)
    request = GenerationRequest([TrackPrompt(id=0, bars=[0])], InferenceConfig(model_dim=4))
    with pytest.raises(CheckpointError, match="what the model computes is not finite"):
        large.session(music.scores()[0], request).run()
