"""What the models of transformers have in common here: packed documents, the cache, gradient checkpointing."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache
from transformers import __version__ as transformers_version

from midigpt_transformers import documents
from midigpt_transformers.blocks import document_blocks
from midigpt_transformers.boundaries import positions, spans
from midigpt_transformers.reader import PRECISIONS, Reader

if TYPE_CHECKING:
    from torch import Tensor

# Without a deprecation warning at each token; a constant, because torch.compile traces the call.
_RENAMED_IN = (5, 24)
_CACHE_ARGUMENT = "cache" if tuple(map(int, transformers_version.split(".")[:2])) >= _RENAMED_IN else "past_key_values"


class PackedModel(nn.Module):
    """A causal language model of transformers, taken apart, with the attention
    :data:`midigpt_transformers.documents.ATTENTION`.

    Subclasses set ``lm_head``, say which modules are :attr:`body` and :attr:`blocks`, and satisfy
    :class:`midigpt_core.contracts.Architecture`.
    """

    lm_head: nn.Module

    @property
    def body(self) -> Any:
        """transformers' model without its head; gives hidden states."""
        raise NotImplementedError

    @property
    def blocks(self) -> Any:
        """The blocks of :attr:`body`, first to last."""
        raise NotImplementedError

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
        hidden = self.body(
            input_ids,
            position_ids=position_ids,
            attention_mask=mask,
            use_cache=cache is not None,
            documents=within,
            **{_CACHE_ARGUMENT: cache},
        ).last_hidden_state
        logits: Tensor = self.lm_head(hidden)
        return logits.view(batch, length, -1)

    def reader_tensors(self) -> dict[str, Tensor]:
        """The weights under the names of :mod:`midigpt_transformers.reader`."""
        raise NotImplementedError

    def reader(self, precision: str = "float32") -> Reader | None:
        """A reader of sequences (:class:`midigpt_core.contracts.SequenceReader`) on the CPU; None on other devices.

        Raises ValueError for a ``precision`` that is not in :data:`midigpt_transformers.reader.PRECISIONS`.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
        if next(self.parameters()).device.type != "cpu":
            return None
        return Reader(self.reader_tensors(), self.architecture_config(), precision)

    def architecture_config(self) -> dict[str, Any]:
        """See :class:`midigpt_core.contracts.Architecture`."""
        raise NotImplementedError

    def make_cache(self) -> DynamicCache:
        """An empty key-value cache for one batch; :meth:`forward` fills it."""
        return DynamicCache(config=self.body.config)

    def enable_gradient_checkpointing(self) -> None:
        """From now on keep only the inputs of blocks for the backward pass, which recomputes the rest."""
        for block in self.blocks:
            # Not a wrapping module, which would change the names in the state dict.
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)

    def _check_length(self, length: int) -> None:
        limit = self.body.config.max_position_embeddings
        if length > limit:
            raise ValueError(f"{length} tokens are more than the model's {limit} positions")
