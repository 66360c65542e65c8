"""Finds where the documents of packed rows begin and end. Padding has id -1; each of its tokens is separate."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor


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
    """The documents of ``document_ids`` int[B, L] with all rows concatenated: the spans cover 0 .. B * L."""
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
