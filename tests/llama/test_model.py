"""The module is transformers' Llama: same keys, same logits; sizes, seeds and where it starts."""

from __future__ import annotations

import pytest
import torch
from attrs import evolve
from midigpt_llama.factory import build
from midigpt_llama.model import transformers_config
from midigpt_llama.options import LlamaOptions
from transformers import LlamaForCausalLM

from midigpt_core.contracts import Architecture, ArchitectureContext
from midigpt_core.errors import ConfigError

SIZE = LlamaOptions(n_embd=32, n_layer=2, n_head=4)
CONTEXT = ArchitectureContext(vocab_size=97, max_seq_len=64)


def seeded(seed: int) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(SIZE, CONTEXT).state_dict()


@pytest.mark.parametrize(
    "size",
    [
        SIZE,
        evolve(SIZE, n_kv_head=4, n_inner=72),
        evolve(SIZE, n_kv_head=1, rope_theta=500.0),
        evolve(SIZE, n_embd=30, n_head=3),
    ],
)
def test_transformers_loads_the_state_strictly_and_computes_the_same(size: LlamaOptions) -> None:
    ours = build(size, CONTEXT).eval()
    theirs = LlamaForCausalLM(transformers_config(size, vocab_size=97, n_positions=64)).eval()
    for parameter in ours.parameters():  # norms start at 1, where mistakes hide
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    input_ids = torch.randint(0, 97, (2, 50))
    positions = torch.arange(50)
    positions[30:40] = torch.arange(5, 15)
    with torch.no_grad():
        logits = theirs(input_ids=input_ids, use_cache=False).logits
        torch.testing.assert_close(ours(input_ids), logits, atol=1e-5, rtol=1e-5)
        # The mask keeps transformers from taking positions that go back for packed sequences.
        logits = theirs(
            input_ids=input_ids,
            position_ids=positions.expand(2, -1),
            attention_mask=torch.ones_like(input_ids),
            use_cache=False,
        ).logits
        torch.testing.assert_close(ours(input_ids, positions.expand(2, -1)), logits, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_transformers() -> None:
    ours = build(SIZE, CONTEXT)
    theirs = LlamaForCausalLM(transformers_config(SIZE, vocab_size=97, n_positions=64))
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    input_ids = torch.randint(0, 97, (2, 50))
    weights = torch.randn(2, 50, 97)
    found = torch.autograd.grad((ours(input_ids) * weights).sum(), list(ours.parameters()))
    logits = theirs(input_ids=input_ids, use_cache=False).logits
    expected = torch.autograd.grad((logits * weights).sum(), list(theirs.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5 * float(other.abs().max()), rtol=1e-4)


def test_it_says_how_it_was_made() -> None:
    module = build(SIZE, CONTEXT)
    assert isinstance(module, Architecture)
    assert module.architecture_config() == {
        "vocab_size": 97,
        "n_positions": 64,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_kv_head": 2,
        "n_inner": 96,
        "rope_theta": 10000.0,
    }


@pytest.mark.parametrize(("heads", "kv_heads", "inner"), [(8, 4, 1536), (7, 7, 1216), (2, 1, 1536)])
def test_a_block_has_as_many_weights_as_that_of_gpt2(heads: int, kv_heads: int, inner: int) -> None:
    options = LlamaOptions(n_embd=448 if heads == 7 else 512, n_head=heads)
    assert (options.kv_heads, options.inner) == (kv_heads, inner)
    block = build(evolve(options, n_layer=1), CONTEXT).blocks[0]
    weights = sum(parameter.numel() for parameter in block.parameters() if parameter.ndim == 2)
    assert 0 <= weights - 12 * options.n_embd**2 < 3 * 32 * options.n_embd


def test_it_starts_as_specified() -> None:
    module = build(evolve(SIZE, n_embd=128), CONTEXT)
    state = module.state_dict()
    assert state["lm_head.weight"].data_ptr() != state["model.embed_tokens.weight"].data_ptr()
    for name in ("lm_head.weight", "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight"):
        assert float(state[name].std()) == pytest.approx(0.02, rel=0.05)
    for name in ("self_attn.o_proj", "mlp.down_proj"):  # 2 summands for each of 2 layers
        assert float(state[f"model.layers.1.{name}.weight"].std()) == pytest.approx(0.01, rel=0.05)


def test_gates_start_open() -> None:
    module = build(evolve(SIZE, n_embd=128, n_layer=4), CONTEXT)
    gates: list[torch.Tensor] = []
    for block in module.blocks:
        block.mlp.gate_proj.register_forward_hook(lambda _module, _inputs, gate: gates.append(gate.detach()))
    module(torch.arange(40)[None])
    # 2 from the embeddings alone; what attention and earlier blocks add makes their common part smaller.
    assert len(gates) == 4
    assert 1 < float(gates[0].mean()) < 2.5
    assert all(float((gate > 0).float().mean()) > 0.9 for gate in gates)


def test_weights_are_a_function_of_the_seed() -> None:
    first, same, other = seeded(3), seeded(3), seeded(4)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_positions_keep_their_angles_in_16_bits() -> None:
    """Angles of late positions would be wrong by whole turns if they were computed in bfloat16."""
    module = build(SIZE, ArchitectureContext(vocab_size=97, max_seq_len=4096)).eval()
    positions = torch.arange(4000, 4020)[None]
    input_ids = torch.randint(0, 97, (1, 20))
    with torch.no_grad():
        whole = module(input_ids, positions)
        half = module.to(torch.bfloat16)(input_ids, positions).float()
    torch.testing.assert_close(half, whole, atol=0.02 * float(whole.abs().max()), rtol=0)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"n_embd": 30}, r"n_embd 30 is not a multiple of twice n_head 4: .* e\.g\. 32\."),
        ({"n_embd": 36}, r"n_embd 36 is not a multiple of twice n_head 4: .* e\.g\. 40\."),
        ({"n_kv_head": 3}, r"n_kv_head 3 does not divide n_head 4\. Choose one that does: 1, 2, 4\."),
        ({"n_kv_head": 8}, r"n_kv_head 8 does not divide n_head 4"),
    ],
)
def test_heads_that_do_not_fit_are_named(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(evolve(SIZE, **sizes), CONTEXT)


@pytest.mark.parametrize("field", ["n_embd", "n_layer", "n_head", "n_kv_head", "n_inner"])
@pytest.mark.parametrize("value", [0, -1, 10**9])
def test_sizes_out_of_range_are_refused(field: str, value: int) -> None:
    with pytest.raises(ValueError, match=field):
        evolve(SIZE, **{field: value})


@pytest.mark.parametrize("value", [1.0, -1.0, float("nan"), 1e12])
def test_a_base_that_turns_nothing_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="rope_theta"):
        evolve(SIZE, rope_theta=value)
