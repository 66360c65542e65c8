"""Lightning, packing and accumulation change nothing about what is computed."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from midigpt_core.data.datasets import batches
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.losses import token_losses
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import fit
from support.training import metrics

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from support.training import Configure


def forward(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    return model(batch["input_ids"], position_ids=batch["position_ids"], document_ids=batch["document_ids"])


def test_a_run_is_a_plain_loop(configure: Configure, shard: Path) -> None:
    plan = prepare(
        configure(optimizer="adamw", scheduler="constant_with_warmup", warmup_steps=0, weight_decay=0.0), shard
    )
    model = initial_model(plan.config, plan.chosen.architecture, plan.encoder.vocab_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    expected = []
    for batch in islice(batches(plan.training, batch_size=2, first_row=0), 6):
        loss = cross_entropy(forward(model, batch).flatten(0, 1), batch["labels"].flatten())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        expected.append((loss.item(), norm.item()))
    steps = metrics(fit(plan).run_dir)
    for line, (loss, norm) in zip(steps, expected, strict=True):
        assert line["loss"] == pytest.approx(loss, rel=1e-5)
        assert line["gradient_norm"] == pytest.approx(norm, rel=1e-4)


def test_packed_loss_and_gradients_are_those_of_the_documents_one_by_one(configure: Configure, shard: Path) -> None:
    plan = prepare(configure(), shard)
    model = initial_model(plan.config, plan.chosen.architecture, plan.encoder.vocab_size)
    batch = next(iter(batches(plan.training, batch_size=8, first_row=0)))
    packed = token_losses(forward(model, batch), batch["labels"]).sum()
    packed_gradients = torch.autograd.grad(packed, list(model.parameters()))

    alone = torch.zeros(())
    documents = 0
    for tokens, owners in zip(batch["input_ids"], batch["document_ids"], strict=True):
        for document in range(int(owners.max()) + 1):
            own = tokens[owners == document]
            positions = torch.from_numpy(plan.encoder.positions(own.numpy().astype(np.int32))).long()
            logits = model(own[None], position_ids=positions[None])
            alone = alone + cross_entropy(logits[0, :-1], own[1:], reduction="sum")
            documents += 1
    gradients = torch.autograd.grad(alone, list(model.parameters()))

    assert documents > 8
    assert packed.item() == pytest.approx(alone.item(), rel=1e-6)
    for one, other in zip(packed_gradients, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
