"""The engine is the trained model, bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from midigpt_encoder.config import EncoderConfig
from midigpt_gpt2.factory import build
from midigpt_gpt2.options import Gpt2Options

from midigpt_core.checkpoint import save_bundle
from midigpt_core.contracts import ArchitectureContext, Bundle
from midigpt_core.errors import CheckpointError, EncodingError
from midigpt_core.inference import InferenceEngine

if TYPE_CHECKING:
    from pathlib import Path

    from midigpt_gpt2.model import Gpt2


@pytest.fixture(scope="module")
def trained() -> Gpt2:
    with torch.random.fork_rng():
        torch.manual_seed(41)
        return build(
            Gpt2Options(n_embd=32, n_layer=2, n_head=4), ArchitectureContext(vocab_size=647, max_seq_len=64)
        ).eval()


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
