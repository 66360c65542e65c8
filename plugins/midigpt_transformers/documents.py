"""Attention that isolates the documents of packed rows.

A token attends to itself and to the earlier tokens of its own document only. transformers' usual calls do not do this:
``position_ids`` alone, or with a two-dimensional mask, silently let documents see one another. Three ways do:

- a causal attention per document, the fastest on the CPU, where the boundaries are read as Python integers once per
  forward pass;
- block by block (:mod:`midigpt_transformers.blocks`) on GPUs that have the kernel for it;
- one attention under a four-dimensional mask (:func:`attention_mask`) elsewhere.

Padding (document -1) attends to itself alone: an empty row of a softmax would be NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn.attention.flex_attention import BlockMask
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from midigpt_transformers.blocks import are_computed_on, attend_in_blocks

if TYPE_CHECKING:
    from torch import Tensor

    from midigpt_transformers.boundaries import Span

    #: Documents of packed rows: as spans of the concatenated rows, or as blocks of each row.
    Documents = tuple[Span, ...] | BlockMask

#: The name under which transformers finds :func:`attend`.
ATTENTION = "midigpt_documents"


def way(device: torch.device) -> Literal["spans", "blocks", "mask"]:
    """Which of the three ways a device uses."""
    if device.type == "cpu":
        return "spans"
    return "blocks" if are_computed_on(device) else "mask"


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
    documents: Documents | None = None,
    **_unused: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: ``query`` [B, H, Q, d], ``key`` and ``value`` [B, G, K, d] -> [B, Q, H, d].

    G divides H: each head of keys and values serves H / G consecutive heads of queries.

    With spans (B is 1) or blocks, ``documents`` attend within themselves. With a mask, the mask decides. With neither,
    attention is causal and the last query is aligned with the last key (K - Q keys come from a cache).
    """
    if isinstance(documents, BlockMask):
        return attend_in_blocks(query, key, value, documents, scaling), None
    if documents is not None:
        return _attend_within(documents, query, key, value, scaling), None
    queries, keys = query.shape[2], key.shape[2]
    if attention_mask is None and 1 < queries < keys:
        attention_mask = torch.ones(queries, keys, dtype=torch.bool, device=query.device).tril(keys - queries)
    is_causal = attention_mask is None and queries == keys
    mixed = _attention(query, key, value, attn_mask=attention_mask, is_causal=is_causal, scale=scaling)
    return mixed.transpose(1, 2), None


def _attention(query: Tensor, key: Tensor, value: Tensor, **how: Any) -> Tensor:
    return scaled_dot_product_attention(query, key, value, **how, enable_gqa=query.shape[1] != key.shape[1])


def _attend_within(
    documents: tuple[Span, ...], query: Tensor, key: Tensor, value: Tensor, scaling: float | None
) -> Tensor:
    # Split, not sliced: the gradient of each slice would be as long as the row.
    lengths = [span.end - span.start for span in documents]
    parts = zip(documents, *(torch.split(tensor, lengths, dim=2) for tensor in (query, key, value)), strict=True)
    groups = query.shape[1] // key.shape[1]
    mixed = [
        _attention(q, k, v, is_causal=True, scale=scaling)
        if span.attends
        else (v if groups == 1 else v.repeat_interleave(groups, dim=1))
        for span, q, k, v in parts
    ]
    return torch.cat([part.transpose(1, 2) for part in mixed], dim=1)


def _no_mask(*_args: Any, **_kwargs: Any) -> None:
    """No mask from transformers: :func:`attend` implements causality itself."""


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, _no_mask)
