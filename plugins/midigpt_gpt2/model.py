"""GPT-2 as midigpt trains it, built from transformers' modules."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from midigpt_core.contracts import WeightMatrix
from midigpt_gpt2 import documents
from midigpt_gpt2.blocks import document_blocks
from midigpt_gpt2.boundaries import positions, spans
from midigpt_gpt2.reader import PRECISIONS, Gpt2Reader

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


class Gpt2(nn.Module):
    """Pre-norm GPT-2; ``state_dict`` has exactly the keys of transformers' ``GPT2LMHeadModel``."""

    def __init__(self, options: Gpt2Options, *, vocab_size: int, n_positions: int) -> None:
        super().__init__()
        config = transformers_config(options, vocab_size=vocab_size, n_positions=n_positions)
        model = GPT2LMHeadModel(config)
        model.set_attn_implementation(documents.ATTENTION)
        for block in model.transformer.h:
            # The same function as transformers' "gelu_new" in one pass over memory instead of eight.
            block.mlp.act = nn.GELU(approximate="tanh")  # type: ignore[union-attr]
        self.transformer = model.transformer
        self.lm_head = model.lm_head

    def forward(
        self,
        input_ids: Tensor,
        position_ids: Tensor | None = None,
        document_ids: Tensor | None = None,
        cache: DynamicCache | None = None,
    ) -> Tensor:
        """Logits [B, L, V] for ``input_ids`` int64[B, L]; see :class:`midigpt_core.contracts.Architecture`.

        With ``cache``, ``input_ids`` are the tokens after the cached ones, for every row of the batch. Packed documents
        cannot use a cache. Positions default to the place in the document, or in the row.
        """
        batch, length = input_ids.shape
        within: documents.Documents | None = None
        mask = None
        if document_ids is None:
            self._check_length(length + (cache.get_seq_length() if cache is not None else 0))
        elif cache is not None:
            raise ValueError("a key-value cache contains one document per row: leave document_ids out")
        else:
            if position_ids is None:
                position_ids = positions(document_ids)
            match documents.way(input_ids.device):
                case "spans":
                    within = spans(document_ids)
                    input_ids, position_ids = input_ids.reshape(1, -1), position_ids.reshape(1, -1)
                case "blocks":
                    within = document_blocks(document_ids)
                case "mask":
                    mask = documents.attention_mask(document_ids)
        hidden = self.transformer(
            input_ids,
            position_ids=position_ids,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=cache is not None,
            documents=within,
        ).last_hidden_state
        logits: Tensor = self.lm_head(hidden)
        return logits.view(batch, length, -1)

    def make_cache(self) -> DynamicCache:
        """An empty key-value cache for one batch; :meth:`forward` fills it."""
        return DynamicCache(config=self.transformer.config)

    def enable_gradient_checkpointing(self) -> None:
        """From now on keep only the inputs of blocks for the backward pass, which recomputes the rest."""
        for block in self.transformer.h:
            # Not a wrapping module, which would change the names in the state dict.
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    def weight_matrices(self) -> Iterator[WeightMatrix]:
        """The matrices of the blocks, stored as [in, out]; queries, keys and values share one matrix."""
        width = self.transformer.config.n_embd
        block: Any
        for block in self.transformer.h:
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
        config = self.transformer.config
        return {
            "vocab_size": config.vocab_size,
            "n_positions": config.n_positions,
            "n_embd": config.n_embd,
            "n_layer": config.n_layer,
            "n_head": config.n_head,
        }

    def _check_length(self, length: int) -> None:
        limit = self.transformer.config.n_positions
        if length > limit:
            raise ValueError(f"{length} tokens are more than the model's {limit} positions")
