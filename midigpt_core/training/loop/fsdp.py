"""Strategy ``fsdp``: splits weights, gradients and optimiser state over the devices.

This is FSDP2 (``fully_shard``), which keeps the names and shapes of parameters. Weight decay and freezing depend on
them, checkpoints and bundles are the same as with other strategies, and it runs on CPUs too. FSDP1 flattens
parameters: every matrix becomes a vector, to which no weight decay is applied.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from midigpt_core.config.train import FSDP
from midigpt_core.training.loop.precision import require_fsdp_support

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.strategies import Strategy
    from torch import Tensor

    from midigpt_core.config import TrainConfig

_UNUSED = "ddp_find_unused_parameters_true"


def lightning_strategy(config: TrainConfig, precision: str) -> str | Strategy:
    """The Lightning strategy for ``config``. Raises the errors of :func:`require_fsdp_support`."""
    require_fsdp_support(config, precision)
    timeout = timedelta(seconds=config.collective_timeout)
    devices = config.devices * config.num_nodes
    if config.strategy == "auto" and devices == 1:
        return "auto"
    if config.strategy != FSDP:
        return DDPStrategy(find_unused_parameters=config.strategy == _UNUSED, timeout=timeout)
    return ModelParallelStrategy(
        data_parallel_size=devices, tensor_parallel_size=1, save_distributed_checkpoint=False, timeout=timeout
    )


def split_over_ranks(model: nn.Module, trainer: Trainer) -> None:
    """Split ``model`` over the ranks of ``trainer`` if its strategy is fsdp: each transformer block, then the rest."""
    strategy = trainer.strategy
    if not isinstance(strategy, ModelParallelStrategy):
        return
    mesh = strategy.device_mesh["data_parallel"]
    for stack in [module for module in model.modules() if isinstance(module, nn.ModuleList)]:
        for block in stack:
            fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)


def whole(tensor: Tensor) -> Tensor:
    """The full ``tensor`` on every rank, gathered if it is split. All ranks must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gathered_weights(trainer: Trainer, model: Any) -> dict[str, Tensor]:
    """The weights of ``model``, the trainer's module's ``model``, on the CPU of rank 0. All ranks must call this."""
    if isinstance(trainer.strategy, ModelParallelStrategy):
        of_module = trainer.strategy.lightning_module_state_dict()
        return {name.removeprefix("model."): tensor for name, tensor in of_module.items()}
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
