"""Steps, schedule and which weights decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from midigpt_core.plugins import current_registry
from midigpt_core.training.loop.optimization import OptimizationSettings, build_optimizer, build_schedule, decayed


def settings(**changes: object) -> OptimizationSettings:
    values = {
        "optimizer": current_registry().resolve("optimizer", "adamw"),
        "learning_rate": 1e-3,
        "weight_decay": 0.1,
        "betas": (0.9, 0.999),
        "scheduler": "linear",
        "warmup_steps": 4,
        "max_steps": 10,
        "gradient_clip": 1.0,
    }
    return OptimizationSettings(**{**values, **changes})


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7)

    def architecture_config(self) -> dict[str, int]:
        return {"vocab_size": 7}


def test_only_matrices_that_are_no_embeddings_decay() -> None:
    model = Small()
    assert [id(parameter) for parameter in decayed(model)] == [id(model.head.weight)]
    optimizer = build_optimizer(model, settings(), fused=False)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert [len(group["params"]) for group in optimizer.param_groups] == [1, 4]


def rates(scheduler: str) -> list[float]:
    optimizer = build_optimizer(Small(), settings(scheduler=scheduler), fused=False)
    schedule = build_schedule(optimizer, settings(scheduler=scheduler))
    seen = []
    for _ in range(10):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_warm_up_is_linear_and_the_peak_is_the_learning_rate() -> None:
    assert rates("linear")[:5] == pytest.approx([0.0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3])
    assert rates("linear")[5:] == pytest.approx([1e-3 * left / 6 for left in (5, 4, 3, 2, 1)])


@pytest.mark.parametrize("scheduler", ["cosine", "constant_with_warmup", "polynomial", "inverse_sqrt"])
def test_schedules_by_name_warm_up_and_never_exceed_the_peak(scheduler: str) -> None:
    seen = rates(scheduler)
    assert seen[4] == pytest.approx(1e-3)
    assert max(seen) <= 1e-3 * (1 + 1e-9)


def test_both_groups_take_the_same_optimiser_options() -> None:
    optimizer = build_optimizer(Small(), settings(betas=(0.8, 0.9)), fused=False)
    assert {group["betas"] for group in optimizer.param_groups} == {(0.8, 0.9)}
    assert isinstance(optimizer, torch.optim.AdamW)
