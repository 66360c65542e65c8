"""The loss of a batch, and its breakdown by kind of document and type of token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from attrs import asdict, frozen
from torch.nn.functional import cross_entropy

from midigpt_core.records import IGNORED_LABEL, TokenRole
from midigpt_core.training.loop.documents import places
from midigpt_core.training.loop.token_groups import GROUPS, group_of_types

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from midigpt_core.records import Float64Array, Int64Array, Vocabulary

#: Kinds of predicted tokens: in a document without infill, in the prompt of an infill document, in the bars filled in.
KINDS = ("ar", "infill_context", "infill_target")


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of every token, in nats: float[B, L], 0 where there is no label.

    ``logits`` [B, L, V]; ``labels`` int64[B, L], already shifted, :data:`IGNORED_LABEL` where there is none.
    """
    losses = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED_LABEL, reduction="none")
    return losses.view_as(labels)


def counted_labels(batch: Mapping[str, Tensor], loss_on: str) -> Tensor:
    """The labels int64[B, L] that the training loss counts: all, or with ``"targets"`` the target tokens alone.

    A document without bars to fill in is all target (:class:`midigpt_core.records.TokenBatch`).
    """
    labels = batch["labels"]
    if loss_on == "all":
        return labels
    return labels.masked_fill(_role_of_predicted(batch["role"]) != TokenRole.TARGET, IGNORED_LABEL)


def _role_of_predicted(role: Tensor) -> Tensor:
    """The role of the token t + 1 that position t predicts. The last position wraps around, but has no label."""
    return role.roll(-1, dims=1)


def document_kinds(role: Tensor, document_ids: Tensor) -> Tensor:
    """The index into :data:`KINDS` of what each token of a packed row predicts: int64[B, L].

    A document starts with context exactly if it is an infill document (:class:`midigpt_core.records.TokenBatch`).
    """
    first = torch.arange(role.shape[1], device=role.device) - places(document_ids)
    infill = role.gather(1, first) == TokenRole.CONTEXT
    return infill.long() * (1 + (_role_of_predicted(role) == TokenRole.TARGET).long())


@frozen(kw_only=True)
class EvaluationReport:
    """Mean validation losses per token, in nats, over a fixed set of packed rows."""

    loss: float
    #: Number of predicted tokens.
    tokens: int
    #: By :data:`KINDS`. Entries without tokens are left out, here and below.
    by_kind: Mapping[str, float]
    #: By :data:`midigpt_core.training.loop.token_groups.GROUPS`.
    by_group: Mapping[str, float]
    #: By the encoder's token types.
    by_type: Mapping[str, float]
    tokens_by_kind: Mapping[str, int]
    tokens_by_group: Mapping[str, int]
    tokens_by_type: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def scalars(self) -> dict[str, float]:
        """The losses under flat names, for loggers: ``eval_loss``, ``eval_loss/ar``, ``eval_loss/pitch``, …"""
        parts = {**self.by_kind, **self.by_group}
        return {"eval_loss": self.loss, **{f"eval_loss/{name}": loss for name, loss in parts.items()}}


class LossTally:
    """Sums of token losses by kind and type, from which an :class:`EvaluationReport` is made.

    Sums run in float64 on the CPU in the order of the rows, so that equal rows give equal reports on any device.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._names = vocabulary.type_names
        self._group_of = np.array(group_of_types(vocabulary))
        self._type_of = np.asarray(vocabulary.type_of, dtype=np.int64)
        #: Loss and count, float64[2, kinds x types]: what ranks add up.
        self.sums: Float64Array = np.zeros((2, len(KINDS) * len(self._names)), dtype=np.float64)

    def add(self, losses: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Count ``losses`` float[B, L] of a batch of :class:`midigpt_core.records.PackedBatch` fields."""
        labels = batch["labels"]
        known = labels != IGNORED_LABEL
        kinds: Int64Array = document_kinds(batch["role"], batch["document_ids"])[known].cpu().numpy()
        cells = kinds * len(self._names) + self._type_of[labels[known].cpu().numpy()]
        size = self.sums.shape[1]
        values = losses[known].cpu().double().numpy()
        self.sums += np.stack([np.bincount(cells, values, size), np.bincount(cells, minlength=size)])

    def report(self) -> EvaluationReport:
        loss, count = self.sums.reshape(2, len(KINDS), len(self._names))
        by_kind, tokens_by_kind = _means(KINDS, loss.sum(axis=1), count.sum(axis=1))
        type_loss, type_count = loss.sum(axis=0), count.sum(axis=0)
        by_type, tokens_by_type = _means(self._names, type_loss, type_count)
        by_group, tokens_by_group = _means(
            GROUPS,
            np.bincount(self._group_of, type_loss, len(GROUPS)),
            np.bincount(self._group_of, type_count, len(GROUPS)),
        )
        total = int(count.sum())
        return EvaluationReport(
            loss=float(loss.sum() / total) if total else float("nan"),
            tokens=total,
            by_kind=by_kind,
            by_group=by_group,
            by_type=by_type,
            tokens_by_kind=tokens_by_kind,
            tokens_by_group=tokens_by_group,
            tokens_by_type=tokens_by_type,
        )


def _means(names: tuple[str, ...], loss: NDArray[Any], count: NDArray[Any]) -> tuple[dict[str, float], dict[str, int]]:
    seen = [index for index in range(len(names)) if count[index]]
    means = {names[index]: float(loss[index] / count[index]) for index in seen}
    return means, {names[index]: int(count[index]) for index in seen}
