"""GPT-2 as midigpt trains it, built from transformers' modules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_transformers import documents
from midigpt_transformers.model import PackedModel
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from midigpt_core.contracts import WeightMatrix
from midigpt_gpt2.reader import PRECISIONS, Gpt2Reader

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        self.transformer = model.transformer
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

    def reader(self, precision: str = "float32") -> Gpt2Reader | None:
        """A reader of sequences (:class:`midigpt_core.contracts.SequenceReader`) on the CPU; None on other devices.

        Raises ValueError for a ``precision`` that is not in :data:`midigpt_gpt2.reader.PRECISIONS`.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
        if self.lm_head.weight.device.type != "cpu":
            return None
        return Gpt2Reader(self.state_dict(), self.architecture_config(), precision)

    def architecture_config(self) -> dict[str, Any]:
        config = self.body.config
        return {
            "vocab_size": config.vocab_size,
            "n_positions": config.n_positions,
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
        }
