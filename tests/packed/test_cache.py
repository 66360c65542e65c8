"""The key-value cache of the bundled architectures, and how long a sequence may be."""

from __future__ import annotations

import pytest
import torch

from support.architectures import ARCHITECTURES, build_small


@pytest.mark.parametrize("steps", [[50], [1] * 50, [20, 1, 1, 10, 18]])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cache_continues_where_it_ends(architecture: str, steps: list[int]) -> None:
    module = build_small(architecture, vocab_size=97, max_seq_len=64).eval()
    input_ids = torch.randint(0, 97, (3, 50))
    cache = module.make_cache()
    with torch.no_grad():
        logits = torch.cat([module(part, cache=cache) for part in input_ids.split(steps, dim=1)], dim=1)
        torch.testing.assert_close(logits, module(input_ids), atol=1e-5, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_more_tokens_than_positions_is_an_error(architecture: str) -> None:
    module = build_small(architecture, vocab_size=97, max_seq_len=64)
    with pytest.raises(ValueError, match="65 tokens are more than the model's 64 positions"):
        module(torch.zeros(1, 65, dtype=torch.int64))
    cache = module.make_cache()
    module(torch.zeros(1, 60, dtype=torch.int64), cache=cache)
    with pytest.raises(ValueError, match="65 tokens"):
        module(torch.zeros(1, 5, dtype=torch.int64), cache=cache)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cache_with_packed_documents_is_an_error(architecture: str) -> None:
    module = build_small(architecture, vocab_size=97, max_seq_len=64)
    tokens = torch.zeros(1, 8, dtype=torch.int64)
    with pytest.raises(ValueError, match="leave document_ids out"):
        module(tokens, document_ids=torch.zeros(1, 8, dtype=torch.int32), cache=module.make_cache())
