"""The tensors of a GPT-2 bundle: names, shapes, and what old files do differently.

Every format that stores a GPT-2 stores these tensors, under the names of transformers' ``GPT2LMHeadModel``. Layers
inside transformer blocks are input-major (y = x W + b); ``c_attn`` gives queries, keys and values in that order.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.checkpoint.tensor_layout import NEXT, check_layers, checked_sizes, compare_tensors
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEAD = "lm_head.weight"
EMBEDDING = "transformer.wte.weight"
POSITIONS = "transformer.wpe.weight"

#: The causal masks that transformers once kept as buffers.
_OLD_BUFFER = re.compile(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)")

_MODEL = "GPT-2"


@frozen(kw_only=True)
class Gpt2Size:
    """``config`` of a bundle; the defaults are those of the formats for a field that is absent."""

    vocab_size: int = 647
    n_positions: int = 2048
    n_embd: int = 512
    n_layer: int = 6
    n_head: int = 8

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: Path) -> Gpt2Size:
        """Checked values; raises :class:`midigpt_core.errors.CheckpointError` naming the field."""
        size = cls(**checked_sizes(cls, config, path, model=_MODEL))
        if size.n_embd % size.n_head:
            raise CheckpointError(
                f"{path}: config.n_embd {size.n_embd} is not a multiple of config.n_head {size.n_head}. {NEXT}"
            )
        return size


def tensor_shapes(size: Gpt2Size) -> dict[str, tuple[int, ...]]:
    """Every tensor of the model with its shape, in the order of the module."""
    width = size.n_embd
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (size.vocab_size, width), POSITIONS: (size.n_positions, width)}
    for layer in range(size.n_layer):
        block = f"transformer.h.{layer}"
        shapes |= {
            f"{block}.ln_1.weight": (width,),
            f"{block}.ln_1.bias": (width,),
            f"{block}.attn.c_attn.weight": (width, 3 * width),
            f"{block}.attn.c_attn.bias": (3 * width,),
            f"{block}.attn.c_proj.weight": (width, width),
            f"{block}.attn.c_proj.bias": (width,),
            f"{block}.ln_2.weight": (width,),
            f"{block}.ln_2.bias": (width,),
            f"{block}.mlp.c_fc.weight": (width, 4 * width),
            f"{block}.mlp.c_fc.bias": (4 * width,),
            f"{block}.mlp.c_proj.weight": (4 * width, width),
            f"{block}.mlp.c_proj.bias": (width,),
        }
    return shapes | {
        "transformer.ln_f.weight": (width,),
        "transformer.ln_f.bias": (width,),
        HEAD: (size.vocab_size, width),
    }


def parameter_count(size: Gpt2Size) -> int:
    """Number of trainable parameters."""
    block = 12 * size.n_embd * size.n_embd + 13 * size.n_embd
    return (2 * size.vocab_size + size.n_positions + 2) * size.n_embd + size.n_layer * block


def is_old_buffer(name: str) -> bool:
    """Whether ``name`` is a causal mask of an old file: not a weight, to be left out."""
    return _OLD_BUFFER.fullmatch(name) is not None


def check_tensors(found: Mapping[str, tuple[int, ...]], size: Gpt2Size, path: Path) -> None:
    """Compare names and shapes in a file with those of the model, except for buffers of old files and a missing head.

    Raises :class:`midigpt_core.errors.CheckpointError` naming the first tensor that differs.
    """
    check_layers(found, size.n_layer, path)
    compare_tensors(found, tensor_shapes(size), path, model=_MODEL, may_lack=HEAD, is_left_out=is_old_buffer)
