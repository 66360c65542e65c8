"""The loss, and how it is broken down."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import log_softmax

from midigpt_core.records import IGNORED_LABEL, TokenRole, Vocabulary
from midigpt_core.training.loop.losses import LossTally, document_kinds, token_losses

CONTEXT, TARGET = int(TokenRole.CONTEXT), int(TokenRole.TARGET)

#: Ids 0..2 are of type Bar, 3..5 of type NoteOnset.
VOCABULARY = Vocabulary(
    size=6,
    type_names=("Bar", "NoteOnset"),
    type_of=np.array([0, 0, 0, 1, 1, 1], dtype=np.uint8),
    value_of=np.array([0, 1, 2, 0, 1, 2], dtype=np.int32),
)


def batch() -> dict[str, torch.Tensor]:
    """One row: an AR document of 3 tokens, an infill document of 4 (2 context, 2 target), a padding position."""
    return {
        "input_ids": torch.tensor([[0, 3, 4, 1, 5, 2, 3, 0]]),
        "labels": torch.tensor([[3, 4, IGNORED_LABEL, 5, 2, 3, IGNORED_LABEL, IGNORED_LABEL]]),
        "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2, 3, 0]]),
        "document_ids": torch.tensor([[0, 0, 0, 1, 1, 1, 1, -1]], dtype=torch.int32),
        "role": torch.tensor([[TARGET] * 3 + [CONTEXT] * 2 + [TARGET] * 2 + [CONTEXT]], dtype=torch.uint8),
    }


def test_the_losses_are_minus_the_log_likelihood_of_the_labels() -> None:
    logits = torch.randn(1, 8, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = batch()["labels"]
    logs = log_softmax(logits, dim=-1)
    expected = [-float(logs[0, t, label]) if label >= 0 else 0.0 for t, label in enumerate(labels[0].tolist())]
    assert token_losses(logits, labels)[0].tolist() == pytest.approx(expected)


def test_positions_are_sorted_by_what_they_predict() -> None:
    kinds = document_kinds(batch()["role"], batch()["document_ids"])
    # 0 AR; 1 context, 2 target of the infill document: its second token predicts the first target.
    assert kinds[0, [0, 1, 3, 4, 5]].tolist() == [0, 0, 1, 2, 2]


def test_the_report_adds_up() -> None:
    losses = torch.tensor([[1.0, 2.0, 0.0, 4.0, 8.0, 16.0, 0.0, 0.0]])
    tally = LossTally(VOCABULARY)
    tally.add(losses, batch())
    report = tally.report()
    assert report.tokens == 5
    assert report.loss == pytest.approx(31 / 5)
    assert report.by_kind == {"ar": 1.5, "infill_context": 4.0, "infill_target": 12.0}
    assert report.tokens_by_type == {"Bar": 1, "NoteOnset": 4}
    assert report.by_type == {"Bar": 8.0, "NoteOnset": 23 / 4}
    assert report.by_group == {"structure": 8.0, "pitch": 23 / 4}
    assert report.scalars()["eval_loss/infill_target"] == 12.0


def test_batches_add_up_to_the_whole() -> None:
    losses = torch.rand(4, 8, generator=torch.Generator().manual_seed(2))
    rows = {name: values.repeat(4, 1) for name, values in batch().items()}
    whole, parts = LossTally(VOCABULARY), LossTally(VOCABULARY)
    whole.add(losses, rows)
    for start in (0, 1, 3):
        end = {0: 1, 1: 3, 3: 4}[start]
        parts.add(losses[start:end], {name: values[start:end] for name, values in rows.items()})
    assert parts.report().loss == pytest.approx(whole.report().loss)
    assert parts.report().tokens_by_kind == whole.report().tokens_by_kind
