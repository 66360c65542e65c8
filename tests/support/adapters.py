"""Adapters with random weights, made without training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.checkpoint.adapters import StoredAdapter, base_record, save_adapter, weights_hash

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RANK = 3


def lora_for(
    bundle: Path, path: Path, *, seed: int = 0, targets: Sequence[str] = ("c_attn", "c_fc"), **more: Any
) -> Path:
    """A LoRA of a GPT-2 bundle, written to ``path``; ``more`` are fields that replace its own."""
    base = load_checkpoint(bundle)
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, weight in base.state_dict.items():
        if weight.dim() == 2 and name.split(".")[-2] in targets:
            tensors[f"{name}.lora_left"] = torch.randn(weight.size(0), RANK, generator=generator) * 0.1
            tensors[f"{name}.lora_right"] = torch.randn(RANK, weight.size(1), generator=generator)
    fields: dict[str, Any] = {
        "adapter": "lora",
        "options": {"rank": RANK, "alpha": 6.0, "targets": list(targets), "dropout": 0.0},
        "base": base_record(base, weights_hash(base.state_dict), bundle.name),
        "provenance": {"steps": 12, "metrics": {"eval_loss": 1.5}},
        "tensors": tensors,
    }
    return save_adapter(StoredAdapter(**fields | more), path)
