"""What the processes of a run have to agree on beside gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import distributed

from midigpt_core.errors import TrainingError

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def gathered(items: list[int]) -> list[int]:
    """The items of all ranks, in the order of the ranks; all ranks must ask."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return items
    of_ranks: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(of_ranks, items)
    return [item for of_rank in of_ranks for item in of_rank]


def summed(trainer: Trainer, values: list[float]) -> list[float]:
    """The sum over all ranks of each of ``values``; all ranks must ask."""
    if trainer.world_size == 1:
        return values
    total = trainer.strategy.reduce(torch.tensor(values, device=trainer.strategy.root_device), reduce_op="sum")
    return list(torch.as_tensor(total).tolist())


def require_same_start(trainer: Trainer) -> None:
    """Raises :class:`TrainingError` unless all ranks, which look for checkpoints on their own, start from one step."""
    steps = sorted(set(gathered([trainer.global_step])))
    if len(steps) > 1:
        raise TrainingError(
            f"ranks start from different steps ({', '.join(map(str, steps))}): they do not see the same checkpoints."
            " Give all nodes one output_dir, on a file system that they share."
        )
