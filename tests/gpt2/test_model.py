"""The module is transformers' GPT-2: same keys, same logits; sizes, seeds and the key-value cache."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve
from midigpt_gpt2.factory import build
from midigpt_gpt2.model import transformers_config
from midigpt_gpt2.options import Gpt2Options
from transformers import GPT2LMHeadModel

from midigpt_core.contracts import Architecture, ArchitectureContext
from midigpt_core.errors import ConfigError

SIZE = Gpt2Options(n_embd=32, n_layer=2, n_head=4)
CONTEXT = ArchitectureContext(vocab_size=97, max_seq_len=64)


def seeded(seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(SIZE, CONTEXT).state_dict()


def test_transformers_loads_the_state_strictly_and_computes_the_same() -> None:
    ours = build(SIZE, CONTEXT).eval()
    theirs = GPT2LMHeadModel(transformers_config(SIZE, vocab_size=97, n_positions=64)).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    input_ids = torch.randint(0, 97, (2, 50))
    with torch.no_grad():
        logits = theirs(input_ids=input_ids, use_cache=False).logits
        torch.testing.assert_close(ours(input_ids), logits, atol=1e-6, rtol=0)


def test_it_says_how_it_was_made() -> None:
    module = build(SIZE, CONTEXT)
    assert isinstance(module, Architecture)
    assert module.architecture_config() == {
        "vocab_size": 97,
        "n_positions": 64,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
    }


def test_head_and_embedding_are_two_tensors_and_start_as_specified() -> None:
    module = build(evolve(SIZE, n_embd=128), CONTEXT)
    state = module.state_dict()
    assert state["lm_head.weight"].data_ptr() != state["transformer.wte.weight"].data_ptr()
    for name in ("lm_head.weight", "transformer.wte.weight", "transformer.h.0.mlp.c_fc.weight"):
        assert float(state[name].std()) == pytest.approx(0.02, rel=0.05)
    assert not any(isinstance(part, torch.nn.Dropout) and part.p for part in module.modules())


def test_weights_are_a_function_of_the_seed() -> None:
    first, same, other = seeded(3), seeded(3), seeded(4)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_heads_that_do_not_divide_the_width_are_named() -> None:
    with pytest.raises(ConfigError, match=r"n_embd 30 is not a multiple of n_head 4\. .* e\.g\. 32\."):
        build(Gpt2Options(n_embd=30, n_head=4), CONTEXT)


@pytest.mark.parametrize("field", ["n_embd", "n_layer", "n_head"])
@pytest.mark.parametrize("value", [0, -1, 10**9])
def test_sizes_out_of_range_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        evolve(SIZE, **{field: value})
