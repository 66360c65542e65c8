"""The places of the tokens of packed rows in their documents. The positions that the model gets may differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def places(document_ids: Tensor) -> Tensor:
    """The number of tokens of its document before each token: int64[B, L], 0 in padding.

    ``document_ids`` int32[B, L] are those of :class:`midigpt_core.records.PackedBatch`.
    """
    index = torch.arange(document_ids.shape[1], device=document_ids.device).expand_as(document_ids)
    begins = torch.ones_like(document_ids, dtype=torch.bool)
    begins[:, 1:] = document_ids[:, 1:] != document_ids[:, :-1]
    first = torch.where(begins, index, 0).cummax(dim=1).values
    return (index - first).masked_fill(document_ids < 0, 0)
