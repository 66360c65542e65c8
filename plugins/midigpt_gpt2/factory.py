"""Builds the ``gpt2`` architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.errors import ConfigError
from midigpt_gpt2.model import Gpt2

if TYPE_CHECKING:
    from midigpt_core.contracts import ArchitectureContext
    from midigpt_gpt2.options import Gpt2Options


def build(options: Gpt2Options, context: ArchitectureContext) -> Gpt2:
    """Build a GPT-2 with new weights.

    Weights are drawn from torch's default generator: seed it (inside ``torch.random.fork_rng``) for reproducible
    weights. Raises :class:`midigpt_core.errors.ConfigError` if ``n_head`` does not divide ``n_embd``.
    """
    if options.n_embd % options.n_head:
        raise ConfigError(
            f"n_embd {options.n_embd} is not a multiple of n_head {options.n_head}. "
            f"Choose an n_embd that is, e.g. {-(-options.n_embd // options.n_head) * options.n_head}."
        )
    return Gpt2(options, vocab_size=context.vocab_size, n_positions=context.max_seq_len)
