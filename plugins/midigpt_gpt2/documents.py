"""Where the documents of packed rows begin and end, and attention that keeps them apart.

A token attends to the earlier tokens of its own document and to nothing else. transformers' usual calls do not give
that: ``position_ids`` alone, or with a two-dimensional mask, let documents see one another without a word. Two ways
that do:

- a causal attention per document (:func:`attend`), the fastest on the CPU, where the boundaries are read as Python
  integers once per forward pass;
- one attention under a four-dimensional mask (:func:`attention_mask`) elsewhere, where a kernel per document would
  cost more than the masked half saves.

Padding (document -1) attends to itself alone: an empty row of a softmax would be NaN.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

if TYPE_CHECKING:
    from torch import Tensor

#: The name under which transformers finds :func:`attend`.
ATTENTION = "midigpt_documents"


class Span(NamedTuple):
    """Tokens ``start .. end-1`` of a row."""

    start: int
    end: int
    #: False for a run of single tokens (padding, documents of one token), each of which attends to itself alone.
    attends: bool


def starts(document_ids: Tensor) -> Tensor:
    """Whether a document begins at each token of ``document_ids`` int[B, L]: bool[B, L]. Every padding token does."""
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = (document_ids[:, 1:] != document_ids[:, :-1]) | (document_ids[:, 1:] < 0)
    return begins


def positions(document_ids: Tensor) -> Tensor:
    """Each token's place within its document, from 0: int64[B, L]."""
    index = torch.arange(document_ids.shape[1], device=document_ids.device).expand_as(document_ids)
    first = torch.where(starts(document_ids), index, 0).cummax(dim=1).values
    return index - first


def spans(document_ids: Tensor) -> tuple[Span, ...]:
    """The documents of ``document_ids`` int[B, L], its rows laid end to end: they cover 0 .. B * L."""
    begins = starts(document_ids).flatten().nonzero().flatten().tolist()
    found: list[Span] = []
    for start, end in pairwise([*begins, document_ids.numel()]):
        if end - start > 1:
            found.append(Span(start, end, attends=True))
        elif found and not found[-1].attends:
            found[-1] = found[-1]._replace(end=end)
        else:
            found.append(Span(start, end, attends=False))
    return tuple(found)


def attention_mask(document_ids: Tensor) -> Tensor:
    """True where a query (third axis) sees a key (fourth): bool[B, 1, L, L]."""
    length = document_ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=document_ids.device).tril()
    own = (document_ids[:, :, None] == document_ids[:, None, :]) & (document_ids[:, :, None] >= 0)
    itself = torch.eye(length, dtype=torch.bool, device=document_ids.device)
    return ((own & causal) | itself)[:, None]


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    documents: tuple[Span, ...] | None = None,
    **_unused: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: ``query`` [B, H, Q, d], ``key`` and ``value`` [B, H, K, d] -> [B, Q, H, d].

    With ``documents`` (B is 1) each span attends within itself; with a mask the mask decides; with neither, attention
    is causal, the last query standing at the last key (K - Q keys come from a cache).
    """
    if documents is not None:
        return _attend_within(documents, query, key, value, scaling), None
    queries, keys = query.shape[2], key.shape[2]
    if attention_mask is None and 1 < queries < keys:
        attention_mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    is_causal = attention_mask is None and queries == keys
    mixed = scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, is_causal=is_causal, scale=scaling
    )
    return mixed.transpose(1, 2), None


def _attend_within(
    documents: tuple[Span, ...], query: Tensor, key: Tensor, value: Tensor, scaling: float | None
) -> Tensor:
    # Split, not sliced: the gradient of a slice is as long as the row, and there are many.
    lengths = [span.end - span.start for span in documents]
    parts = zip(documents, *(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    mixed = [
        (scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling) if span.attends else v).transpose(1, 2)
        for span, q, k, v in parts
    ]
    return torch.cat(mixed, dim=1)


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """:func:`attend` knows what is causal; transformers need not build a mask for it."""


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, _no_mask)
