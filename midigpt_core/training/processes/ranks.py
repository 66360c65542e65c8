"""The values that the processes of a run share, apart from gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from midigpt_core.errors import TrainingError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def gathered(items: list[int]) -> list[int]:
    """The items of all ranks, in the order of the ranks. All ranks must call this."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return items
    of_ranks: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(of_ranks, items)
    return [item for of_rank in of_ranks for item in of_rank]


def summed(trainer: Trainer, values: list[float]) -> list[float]:
    """The sum over all ranks of each of ``values``. All ranks must call this."""
    if trainer.world_size == 1:
        return values
    total = trainer.strategy.reduce(torch.tensor(values, device=trainer.strategy.root_device), reduce_op="sum")
    return list(torch.as_tensor(total).tolist())


def require_same_start(trainer: Trainer) -> None:
    """Raise :class:`TrainingError` unless all ranks, which search for checkpoints separately, start from one step."""
    steps = sorted(set(gathered([trainer.global_step])))
    if len(steps) > 1:
        raise TrainingError(
            f"ranks start from different steps ({', '.join(map(str, steps))}): they do not see the same checkpoints."
            " Give all nodes the same output_dir, on a shared file system."
        )
