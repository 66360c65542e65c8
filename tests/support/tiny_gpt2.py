"""A GPT-2 that is made in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from midigpt_gpt2.factory import build
from midigpt_gpt2.options import Gpt2Options

from midigpt_core.contracts import ArchitectureContext

if TYPE_CHECKING:
    from midigpt_gpt2.model import Gpt2


def tiny_gpt2(
    vocab_size: int = 97, max_seq_len: int = 32, *, n_embd: int = 16, n_layer: int = 2, n_head: int = 4, seed: int = 3
) -> Gpt2:
    """Weights as at the start of a run, from ``seed``; torch's own generator stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        options = Gpt2Options(n_embd=n_embd, n_layer=n_layer, n_head=n_head)
        return build(options, ArchitectureContext(vocab_size=vocab_size, max_seq_len=max_seq_len)).eval()
