"""A small GPT-2 bundle for the encoder ``tiny`` of ``tests/data/plugins``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from midigpt_gpt2.factory import build
from midigpt_gpt2.options import Gpt2Options

from midigpt_core.contracts import ArchitectureContext, Bundle

if TYPE_CHECKING:
    from midigpt_gpt2.model import Gpt2


@pytest.fixture(scope="session")
def model() -> Gpt2:
    with torch.random.fork_rng():
        torch.manual_seed(21)
        return build(
            Gpt2Options(n_embd=16, n_layer=2, n_head=4), ArchitectureContext(vocab_size=97, max_seq_len=32)
        ).eval()


@pytest.fixture
def bundle(model: Gpt2) -> Bundle:
    return Bundle(
        architecture="gpt2",
        architecture_config=model.architecture_config(),
        encoder="tiny",
        encoder_config={"size": 97},
        provenance={"midigpt_core": "0.1.0", "steps": 50, "metrics": {"loss": 3.5}},
        state_dict=model.state_dict(),
    )
