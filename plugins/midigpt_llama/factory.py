"""Builds the ``llama`` architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.errors import ConfigError
from midigpt_llama.model import Llama

if TYPE_CHECKING:
    from midigpt_core.contracts import ArchitectureContext
    from midigpt_llama.options import LlamaOptions


def build(options: LlamaOptions, context: ArchitectureContext) -> Llama:
    """Build a Llama with new weights.

    Weights are drawn from torch's default generator: seed it (inside ``torch.random.fork_rng``) for reproducible
    weights. Raises :class:`midigpt_core.errors.ConfigError` if ``n_head`` does not divide ``n_embd`` into heads of an
    even width, or ``n_kv_head`` does not divide ``n_head``.
    """
    if options.n_embd % (2 * options.n_head):
        step = 2 * options.n_head
        raise ConfigError(
            f"n_embd {options.n_embd} is not a multiple of twice n_head {options.n_head}: rotary positions need heads "
            f"of an even width. Choose an n_embd that is, e.g. {-(-options.n_embd // step) * step}."
        )
    if options.n_head % options.kv_heads:
        divisors = [str(count) for count in range(1, options.n_head + 1) if options.n_head % count == 0]
        raise ConfigError(
            f"n_kv_head {options.kv_heads} does not divide n_head {options.n_head}. "
            f"Choose one that does: {', '.join(divisors)}."
        )
    return Llama(options, vocab_size=context.vocab_size, n_positions=context.max_seq_len)
