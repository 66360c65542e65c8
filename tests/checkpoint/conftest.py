"""A small GPT-2 bundle for the encoder ``tiny`` of ``tests/data/plugins``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from midigpt_core.contracts import Bundle
from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from midigpt_gpt2.model import Gpt2


@pytest.fixture(scope="session")
def model() -> Gpt2:
    return tiny_gpt2(seed=21)


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
