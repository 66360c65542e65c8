"""GPT-2 as midigpt trains it, built from transformers' modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_transformers import documents
from midigpt_transformers.model import PackedModel
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from midigpt_core.contracts import WeightMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from midigpt_gpt2.options import Gpt2Options


def transformers_config(options: Gpt2Options, *, vocab_size: int, n_positions: int) -> GPT2Config:
    """The configuration under which transformers' own ``GPT2LMHeadModel`` computes the same function."""
    return GPT2Config(
        vocab_size=vocab_size,
        n_positions=n_positions,
        n_embd=options.n_embd,
        n_layer=options.n_layer,
        n_head=options.n_head,
        activation_function="gelu_new",
        layer_norm_epsilon=1e-5,
        initializer_range=0.02,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        tie_word_embeddings=False,
        # transformers' default (50256) is outside the vocabulary. No token of ours ends a sequence.
        bos_token_id=0,
        eos_token_id=0,
    )


class Gpt2(PackedModel):
    """Pre-norm GPT-2; ``state_dict`` has exactly the keys of transformers' ``GPT2LMHeadModel``."""

    def __init__(self, options: Gpt2Options, *, vocab_size: int, n_positions: int) -> None:
        super().__init__()
        model = GPT2LMHeadModel(transformers_config(options, vocab_size=vocab_size, n_positions=n_positions))
        model.set_attn_implementation(documents.ATTENTION)
        for block in model.transformer.h:
            # The same function as transformers' "gelu_new" in one pass over memory instead of eight.
            block.mlp.act = nn.GELU(approximate="tanh")  # type: ignore[union-attr]
        self.transformer: Any = model.transformer
        self.lm_head = model.lm_head

    @property
    def body(self) -> Any:
        return self.transformer

    @property
    def blocks(self) -> Any:
        return self.transformer.h

    def weight_matrices(self) -> Iterator[WeightMatrix]:
        """The matrices of the transformer blocks, stored as [in, out]; queries, keys and values share one matrix."""
        width = self.body.config.n_embd
        block: Any
        for block in self.blocks:
            yield WeightMatrix(parameter=block.attn.c_attn.weight, output_dim=1, parts=(width, width, width))
            for layer in (block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
                yield WeightMatrix(parameter=layer.weight, output_dim=1)

    def reader_tensors(self) -> dict[str, Tensor]:
        embeddings = {"tokens": self.transformer.wte.weight, "positions": self.transformer.wpe.weight}
        tensors = embeddings | _of_norm("norm", self.transformer.ln_f) | {"head.weight": self.lm_head.weight}
        for index, block in enumerate(self.blocks):
            attention = (block.attn.c_attn.weight.chunk(3, dim=1), block.attn.c_attn.bias.chunk(3))
            for name, weight, bias in zip(("queries", "keys", "values"), *attention, strict=True):
                tensors |= {f"{index}.{name}.weight": weight.T, f"{index}.{name}.bias": bias}
            for name, layer in (
                ("projection", block.attn.c_proj),
                ("expansion", block.mlp.c_fc),
                ("contraction", block.mlp.c_proj),
            ):
                tensors |= {f"{index}.{name}.weight": layer.weight.T, f"{index}.{name}.bias": layer.bias}
            tensors |= _of_norm(f"{index}.norm_1", block.ln_1) | _of_norm(f"{index}.norm_2", block.ln_2)
        return tensors

    def architecture_config(self) -> dict[str, Any]:
        config = self.body.config
        return {
            "vocab_size": config.vocab_size,
            "n_positions": config.n_positions,
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
        }


def _of_norm(name: str, norm: Any) -> dict[str, Tensor]:
    return {f"{name}.weight": norm.weight, f"{name}.bias": norm.bias}
