"""The optimiser and its schedule, both counted in optimiser steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import nn
from transformers import get_scheduler

from midigpt_core.contracts import OptimizerContext
from midigpt_core.plugins import build
from midigpt_core.training.loop.matrices import weight_matrices
from midigpt_core.training.loop.peak_memory import PeakMemory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from midigpt_core.components import ComponentRef
    from midigpt_core.config import TrainConfig


@frozen(kw_only=True)
class OptimizationSettings:
    """How the weights are stepped."""

    optimizer: ComponentRef
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float]
    #: A name of :func:`transformers.get_scheduler`.
    scheduler: str
    warmup_steps: int
    max_steps: int
    #: Largest gradient norm; 0: no limit.
    gradient_clip: float


def optimization(config: TrainConfig, optimizer: ComponentRef) -> OptimizationSettings:
    """The settings in ``config``; ``optimizer`` is the component that it chooses."""
    return OptimizationSettings(
        optimizer=optimizer,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(config.adam_beta1, config.adam_beta2),
        scheduler=config.scheduler,
        warmup_steps=config.warmup_steps,
        max_steps=config.max_steps,
        gradient_clip=config.gradient_clip,
    )


def decayed(model: nn.Module) -> Iterator[nn.Parameter]:
    """The parameters that weight decay pulls to zero: matrices other than embeddings.

    Biases and norms are vectors; decaying them, or embeddings of rare tokens, only harms (as in GPT-2 and GPT-3).
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dim() >= 2 and id(parameter) not in embeddings:
            yield parameter


def build_optimizer(
    model: nn.Module, settings: OptimizationSettings, *, fused: bool, adapted: bool = False
) -> Optimizer:
    """The optimiser that ``settings`` choose, over the parameters of ``model`` that are trained; ``adapted``: they are
    an adapter's."""
    with_decay = list(decayed(model))
    chosen = {id(parameter) for parameter in with_decay}
    without = [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in chosen]
    context = OptimizerContext(
        model=model,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=settings.betas,
        decayed=with_decay,
        undecayed=without,
        matrices=weight_matrices(model, adapted=adapted),
        fused=fused,
    )
    optimizer: Optimizer = build(settings.optimizer, context)
    return optimizer


@frozen
class StepMemory:
    """Bytes that an optimiser needs besides weights and gradients."""

    #: What it keeps from step to step.
    kept: int
    #: What it holds at most during a step and frees again, e.g. copies of the matrices that it orthogonalises.
    temporary: int


def step_memory(optimizer: Optimizer) -> StepMemory:
    """The memory of ``optimizer``, whose parameters are fake tensors. It takes two steps to find out.

    For an optimiser that cannot step fake tensors: the bytes of two moments, as in AdamW, and nothing temporary.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()  # the first step creates the state
        with PeakMemory() as memory:
            optimizer.step()
    except RuntimeError:
        return StepMemory(sum(2 * parameter.numel() * parameter.element_size() for parameter in parameters), 0)
    kept = (value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor))
    # Counts of steps are negligible.
    return StepMemory(sum(tensor.numel() * tensor.element_size() for tensor in kept if tensor.dim()), memory.peak)


def build_schedule(optimizer: Optimizer, settings: OptimizationSettings) -> LRScheduler:
    """Linear warm-up, then the schedule of ``settings`` until ``max_steps``."""
    schedule: LRScheduler = get_scheduler(
        settings.scheduler,
        optimizer,
        num_warmup_steps=settings.warmup_steps,
        num_training_steps=settings.max_steps,
    )
    return schedule


def hyperparameters(optimizer: Optimizer) -> list[dict[str, Any]]:
    """The settings of the groups of an optimiser, without their parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def reset(optimizer: Optimizer, schedule: Any, built: Sequence[Mapping[str, Any]]) -> None:
    """Have the settings decide the next step, where a checkpoint has brought along those that it was saved with.

    ``built`` are the :func:`hyperparameters` of the optimiser as it was built. The learning rate becomes the one that
    ``schedule``, which is a function of the steps taken, has for the next step. With settings that were not changed
    nothing changes, to the last bit.
    """
    for group, values, factor in zip(optimizer.param_groups, built, schedule.lr_lambdas, strict=True):
        group.update(values, initial_lr=values["lr"], lr=values["lr"] * factor(schedule.last_epoch))
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if "fused" in group and "step" in state:
                # A fused optimiser of torch counts on the device, any other one of them on the CPU.
                state["step"] = state["step"].to(parameter.device if group["fused"] else "cpu")
    schedule.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
    schedule._last_lr = [group["lr"] for group in optimizer.param_groups]
