"""The bundled architectures, built small."""

from __future__ import annotations

from typing import Any

import torch

from midigpt_core.contracts import ArchitectureContext
from midigpt_core.plugins import build, current_registry

ARCHITECTURES = ("gpt2", "llama")


def build_small(architecture: str, *, vocab_size: int, max_seq_len: int, n_layer: int = 2, seed: int = 3) -> Any:
    """A model 32 wide with four heads, in evaluation mode; torch's own generator stays as it was."""
    ref = current_registry().resolve(
        "architecture", {"name": architecture, "n_embd": 32, "n_layer": n_layer, "n_head": 4}
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(ref, ArchitectureContext(vocab_size=vocab_size, max_seq_len=max_seq_len)).eval()
