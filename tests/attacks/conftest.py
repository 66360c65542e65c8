"""A bundle to hide attacks in, and a canary that they try to touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from support.tiny_gpt2 import tiny_gpt2

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def content() -> dict[str, Any]:
    """A sound bundle of format 1, as the dict that ``torch.save`` takes."""
    model = tiny_gpt2(max_seq_len=8, n_embd=8, n_layer=1, n_head=2)
    return {
        "format_version": 1,
        "arch": "gpt2",
        "config": model.architecture_config(),
        "encoder_config": {"size": 97},
        "midigpt_core": {"encoder": "tiny", "provenance": {}},
        "state_dict": {name: tensor.clone() for name, tensor in model.state_dict().items()},
    }


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that must never be created. Relative payloads would be written next to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "canary"
