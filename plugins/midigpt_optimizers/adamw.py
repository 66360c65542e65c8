"""The AdamW of PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.optim import AdamW

if TYPE_CHECKING:
    from midigpt_core.contracts import OptimizerContext


def build(options: None, context: OptimizerContext) -> AdamW:
    """AdamW in two groups, with and without weight decay."""
    groups = [
        {"params": list(context.decayed), "weight_decay": context.weight_decay},
        {"params": list(context.undecayed), "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=context.learning_rate, betas=context.betas, fused=context.fused)
