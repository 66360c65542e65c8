"""The tensors of a Llama bundle: names and shapes.

Every format that stores a Llama stores these tensors, under the names of transformers' ``LlamaForCausalLM``. Layers are
output-major (y = W x); none has a bias.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.checkpoint.tensor_layout import NEXT, check_layers, checked_sizes, compare_tensors
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MODEL = "Llama"


@frozen(kw_only=True)
class LlamaSize:
    """``config`` of a bundle."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_kv_head: int
    n_inner: int
    rope_theta: float

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: Path) -> LlamaSize:
        """Checked values; raises :class:`midigpt_core.errors.CheckpointError` naming the field."""
        size = cls(**checked_sizes(cls, config, path, model=_MODEL))
        if size.n_embd % (2 * size.n_head):
            raise CheckpointError(
                f"{path}: config.n_embd {size.n_embd} is not a multiple of twice config.n_head {size.n_head}. {NEXT}"
            )
        if size.n_head % size.n_kv_head:
            raise CheckpointError(
                f"{path}: config.n_kv_head {size.n_kv_head} does not divide config.n_head {size.n_head}. {NEXT}"
            )
        return size


def tensor_shapes(size: LlamaSize) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model with its shape, in the order of the module."""
    width, inner = size.n_embd, size.n_inner
    of_keys = width // size.n_head * size.n_kv_head
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (size.vocab_size, width)}
    for layer in range(size.n_layer):
        block = f"model.layers.{layer}"
        shapes |= {
            f"{block}.self_attn.q_proj.weight": (width, width),
            f"{block}.self_attn.k_proj.weight": (of_keys, width),
            f"{block}.self_attn.v_proj.weight": (of_keys, width),
            f"{block}.self_attn.o_proj.weight": (width, width),
            f"{block}.mlp.gate_proj.weight": (inner, width),
            f"{block}.mlp.up_proj.weight": (inner, width),
            f"{block}.mlp.down_proj.weight": (width, inner),
            f"{block}.input_layernorm.weight": (width,),
            f"{block}.post_attention_layernorm.weight": (width,),
        }
    return shapes | {"model.norm.weight": (width,), "lm_head.weight": (size.vocab_size, width)}


def parameter_count(size: LlamaSize) -> int:
    """Number of trainable parameters."""
    width = size.n_embd
    of_keys = width // size.n_head * size.n_kv_head
    block = 2 * width * (width + of_keys) + 3 * width * size.n_inner + 2 * width
    return (2 * size.vocab_size + 1) * width + size.n_layer * block


def check_tensors(found: Mapping[str, tuple[int, ...]], size: LlamaSize, path: Path) -> None:
    """Compare names and shapes in a file with those of the model; raises
    :class:`midigpt_core.errors.CheckpointError` naming the first tensor that differs."""
    check_layers(found, size.n_layer, path)
    compare_tensors(found, tensor_shapes(size), path, model=_MODEL)
