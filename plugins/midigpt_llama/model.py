"""Llama as midigpt trains it, built from transformers' modules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from midigpt_transformers import documents
from midigpt_transformers.model import PackedModel
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from midigpt_llama.layers import Attention, FeedForward, RmsNorm, Rotations

if TYPE_CHECKING:
    from torch import Tensor

    from midigpt_llama.options import LlamaOptions

_INITIALIZER_RANGE = 0.02
#: Gates of feed-forward layers before their activation, at the start, from the embeddings alone: silu(2) is 1.76.
_OPEN_GATE = 2.0


def transformers_config(options: LlamaOptions, *, vocab_size: int, n_positions: int) -> LlamaConfig:
    """The configuration under which transformers' own ``LlamaForCausalLM`` computes the same function."""
    return LlamaConfig(
        vocab_size=vocab_size,
        max_position_embeddings=n_positions,
        hidden_size=options.n_embd,
        num_hidden_layers=options.n_layer,
        num_attention_heads=options.n_head,
        num_key_value_heads=options.kv_heads,
        intermediate_size=options.inner,
        rope_parameters={"rope_type": "default", "rope_theta": options.rope_theta},
        hidden_act="silu",
        rms_norm_eps=1e-5,
        initializer_range=_INITIALIZER_RANGE,
        attention_bias=False,
        attention_dropout=0.0,
        mlp_bias=False,
        tie_word_embeddings=False,
        # transformers' defaults (1 and 2) are notes or bars here. No token of ours ends a sequence.
        bos_token_id=0,
        eos_token_id=0,
    )


class Llama(PackedModel):
    """Llama; ``state_dict`` has exactly the keys of transformers' ``LlamaForCausalLM``.

    The modules of its transformer blocks compute what transformers' do, in fewer passes over memory.
    """

    def __init__(self, options: LlamaOptions, *, vocab_size: int, n_positions: int) -> None:
        super().__init__()
        model = LlamaForCausalLM(transformers_config(options, vocab_size=vocab_size, n_positions=n_positions))
        model.set_attn_implementation(documents.ATTENTION)
        body: Any = model.model
        # As GPT-2 starts: what each of the 2 n_layer summands adds to the residual stream shrinks with their number.
        for block in body.layers:
            for layer in (block.self_attn.o_proj, block.mlp.down_proj):
                nn.init.normal_(layer.weight, std=_INITIALIZER_RANGE / math.sqrt(2 * options.n_layer))
        _open_gates(body)
        for block in body.layers:
            block.self_attn = Attention(block.self_attn)
            block.mlp = FeedForward(block.mlp)
            block.input_layernorm = RmsNorm(block.input_layernorm)
            block.post_attention_layernorm = RmsNorm(block.post_attention_layernorm)
        body.norm = RmsNorm(body.norm)
        body.rotary_emb = Rotations(options.n_embd // options.n_head, options.rope_theta)
        self.model: Any = body
        self.lm_head = model.lm_head
        self._theta = options.rope_theta

    @property
    def body(self) -> Any:
        return self.model

    @property
    def blocks(self) -> Any:
        return self.model.layers

    def reader_tensors(self) -> dict[str, Tensor]:
        tensors = {
            "tokens": self.model.embed_tokens.weight,
            "speeds": self.model.rotary_emb.speeds(),
            "norm.weight": self.model.norm.weight,
            "head.weight": self.lm_head.weight,
        }
        for index, block in enumerate(self.blocks):
            for name, layer in (
                ("norm_1", block.input_layernorm),
                ("queries", block.self_attn.q_proj),
                ("keys", block.self_attn.k_proj),
                ("values", block.self_attn.v_proj),
                ("projection", block.self_attn.o_proj),
                ("norm_2", block.post_attention_layernorm),
                ("gate", block.mlp.gate_proj),
                ("expansion", block.mlp.up_proj),
                ("contraction", block.mlp.down_proj),
            ):
                tensors[f"{index}.{name}.weight"] = layer.weight
        return tensors

    def architecture_config(self) -> dict[str, Any]:
        config = self.model.config
        return {
            "vocab_size": config.vocab_size,
            "n_positions": config.max_position_embeddings,
            "n_embd": config.hidden_size,
            "n_layer": config.num_hidden_layers,
            "n_head": config.num_attention_heads,
            "n_kv_head": config.num_key_value_heads,
            "n_inner": config.intermediate_size,
            "rope_theta": self._theta,
        }


@torch.no_grad()
def _open_gates(body: Any) -> None:
    """Let feed-forward layers start nearly linear: with gates near 0 they multiply two small numbers and learn slowly.

    Without biases only a part that all embeddings have in common can open a gate; it is as large as their random part.
    After the norm its numbers are 1 / sqrt(2) each.
    """
    embeddings = body.embed_tokens.weight
    embeddings.add_(_INITIALIZER_RANGE)
    for block in body.layers:
        block.mlp.gate_proj.weight.add_(_OPEN_GATE * math.sqrt(2) / embeddings.size(1))
