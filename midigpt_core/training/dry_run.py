"""Estimates what a run would cost, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from attrs import asdict, frozen
from torch._subclasses.fake_tensor import FakeTensorMode

from midigpt_core.errors import TrainingError
from midigpt_core.terminal import printable
from midigpt_core.training.keeping.checkpoints import first_whole, saved_identity
from midigpt_core.training.keeping.identity import as_begun
from midigpt_core.training.loop.initial import fresh_model, prepare_for_training
from midigpt_core.training.loop.losses import token_losses
from midigpt_core.training.loop.optimization import build_optimizer, optimization, step_memory
from midigpt_core.training.loop.precision import require_fsdp_support, usable_precision
from midigpt_core.training.planning.host_memory import host_memory, spelled_size
from midigpt_core.training.reporting.flops import ModelFlops

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from midigpt_core.config import TrainConfig
    from midigpt_core.training.loop.optimization import StepMemory
    from midigpt_core.training.planning.prepare import Plan

#: Bytes of a float32, the type of weights and gradients.
_BYTES_PER_PARAMETER = 4


@frozen(kw_only=True)
class Estimate:
    """The result of a dry run. Bytes are for one device, without the framework's own memory."""

    parameters: int
    #: Parameters that are not frozen.
    trained: int
    pieces: int
    #: Positions of an optimiser step over all devices, and how many are tokens, estimated from the first packed rows.
    positions_per_step: int
    tokens_per_step: int
    #: Model FLOPs of an optimiser step over all devices (:class:`midigpt_core.training.reporting.flops.ModelFlops`).
    flops_per_step: float
    #: Share of the tokens by training set, estimated from the first packed rows; empty if the run has no sets.
    token_shares: Mapping[str, float]
    #: Packed rows after which each piece has been used once on average, and the optimiser steps that this takes.
    rows_per_pass: int
    steps_per_pass: float
    #: Weights, gradients and optimiser state.
    state_bytes: int
    #: What one micro-batch keeps for its backward pass.
    activation_bytes: int
    #: What the optimiser's step needs for a moment, after the backward pass has freed the activations.
    step_bytes: int

    @property
    def memory_bytes(self) -> int:
        """The most that is needed at a time."""
        return self.state_bytes + max(self.activation_bytes, self.step_bytes)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@frozen(kw_only=True)
class _Sizes:
    """Sizes of a model of fake tensors, which have shapes but no memory."""

    parameters: int
    trained: int
    flops: ModelFlops
    activation_bytes: int
    optimizer: StepMemory

    @property
    def state_bytes(self) -> int:
        return (self.parameters + self.trained) * _BYTES_PER_PARAMETER + self.optimizer.kept


def _sizes(plan: Plan) -> _Sizes:
    config = plan.config
    with torch.random.fork_rng(devices=[]), FakeTensorMode():
        model = fresh_model(config, plan.chosen.architecture, plan.encoder.vocab_size)
        adapted = prepare_for_training(model, config, plan.chosen.adapter)
        activations = _saved_bytes(model, config.batch_size, config.max_seq_len)
        settings = optimization(config, plan.chosen.optimizer)
        return _Sizes(
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            trained=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
            flops=ModelFlops.of_model(model),
            activation_bytes=activations if config.precision == "fp32" else activations // 2,
            optimizer=step_memory(build_optimizer(model, settings, fused=True, adapted=adapted is not None)),
        )


def require_memory(plan: Plan) -> None:
    """Raise :class:`TrainingError` if the model cannot be trained in the available memory, before it is created.

    On a GPU only weights and optimiser state are counted, which some strategies split. Activations are not: attention
    keeps others on a GPU than on a CPU, and a GPU reports by itself when it is full.
    """
    config = plan.config
    try:
        sizes = _sizes(plan)
    except RuntimeError:
        # Not every plugin's model can be built from fake tensors. If it cannot be built at all, building it fails.
        return
    # The weights are created in host memory, whichever device trains them.
    _require("its weights", sizes.parameters * _BYTES_PER_PARAMETER, host_memory(), config)
    if torch.cuda.is_available():
        sharing = config.devices * config.num_nodes if config.strategy.startswith("fsdp") else 1
        memory = torch.cuda.get_device_properties(0).total_memory
        _require("its weights and optimiser state", sizes.state_bytes // sharing, memory, config)
    else:
        # Activations have the precision of the CPU's arithmetic; a compiled model may keep fewer.
        activations = 0 if config.compile else sizes.activation_bytes
        needed = sizes.state_bytes + max(activations, sizes.optimizer.temporary)
        _require("its weights, optimiser state and activations", needed, host_memory(), config)


def _require(what: str, needed: int, memory: int, config: TrainConfig) -> None:
    if needed > memory:
        raise TrainingError(
            f"the model does not fit: {what} need {spelled_size(needed)}, but only {spelled_size(memory)} of "
            f"memory are available. Lower n_positions ({config.n_positions}), n_embd ({config.n_embd}), n_layer "
            f"({config.n_layer}) or, for activations, batch_size ({config.batch_size}) and max_seq_len "
            f"({config.max_seq_len}); 'midigpt train --dry-run' estimates what a run needs."
        )


def estimate(plan: Plan) -> Estimate:
    """Estimate the sizes from a model of fake tensors and the stream's first block.

    Raises :class:`midigpt_core.errors.ConfigError` if training would reject the plan on this machine.
    """
    checkpoint = first_whole(plan.resume_from)
    if checkpoint is not None:
        plan = as_begun(plan, saved_identity(checkpoint))
    config = plan.config
    require_fsdp_support(config, usable_precision(config.precision, gpu=torch.cuda.is_available()))
    sizes = _sizes(plan)
    block = plan.training.open().block(0)
    report = block.report
    by_set = block.tokens_by_set.sum(axis=0) / report.tokens
    positions = report.tokens + report.padding
    rows_per_step = config.batch_size * config.accumulation * config.devices * config.num_nodes
    rows = positions // config.max_seq_len
    rows_per_pass = max(1, round(len(plan.training.pieces) * rows / max(report.documents, 1)))
    tokens_per_step = round(rows_per_step * config.max_seq_len * report.tokens / positions)
    pairs = int((block.documents.length**2).sum())
    return Estimate(
        parameters=sizes.parameters,
        trained=sizes.trained,
        pieces=len(plan.training.pieces),
        positions_per_step=rows_per_step * config.max_seq_len,
        tokens_per_step=tokens_per_step,
        flops_per_step=sizes.flops.of(tokens_per_step, pairs * rows_per_step / rows),
        token_shares={one.name: float(share) for one, share in zip(plan.train_sets, by_set, strict=False)},
        rows_per_pass=rows_per_pass,
        steps_per_pass=rows_per_pass / rows_per_step,
        state_bytes=sizes.state_bytes,
        activation_bytes=sizes.activation_bytes,
        step_bytes=sizes.optimizer.temporary,
    )


def describe(plan: Plan) -> str:
    """The result of :func:`estimate` as lines for a terminal."""
    found = estimate(plan)
    frozen = found.parameters - found.trained
    rows = {
        "parameters": f"{found.parameters:,}" + (f", {found.trained:,} trained" if frozen else ""),
        "pieces": f"{found.pieces:,}",
        **_described_copies(plan),
        **_described_rows(plan),
        "tokens per step": f"{found.tokens_per_step:,} of {found.positions_per_step:,} positions",
        "model FLOPs": f"{found.flops_per_step:.3g} per step",
        **{f"tokens of {name}": f"{share:.1%}" for name, share in found.token_shares.items()},
        "packed rows per pass": f"{found.rows_per_pass:,} ({found.steps_per_pass:,.1f} steps)",
        "memory": f"{spelled_size(found.memory_bytes)} per device ("
        f"{spelled_size(found.state_bytes)} weights and optimiser, {spelled_size(found.activation_bytes)} activations "
        f"and, when these are freed, {spelled_size(found.step_bytes)} for the optimiser's step)",
    }
    rows = {printable(name): value for name, value in rows.items()}
    width = max(16, *map(len, rows))
    return "\n".join(f"{name:<{width}} {value}" for name, value in rows.items())


def _described_rows(plan: Plan) -> dict[str, str]:
    """How many rows of the source have music and, by reason, how many do not or were filtered out."""
    kept, total = plan.train_pieces.rows.get("kept", 0), sum(plan.train_pieces.rows.values())
    left_out = {
        f"  {reason.replace('_', ' ')}": f"{count:,}"
        for reason, count in plan.train_pieces.rows.items()
        if reason != "kept"
    }
    return {"rows of the source": f"{total:,}, {kept:,} kept", **left_out}


def _described_copies(plan: Plan) -> dict[str, str]:
    """How many pieces are copies of others, and what becomes of them."""
    counts = {kind: count for kind, count in plan.train_pieces.copies.items() if count}
    if not counts:
        return {}
    spelled = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
    return {"  copies": f"{spelled} (deduplicate is {plan.config.deduplicate})"}


def _saved_bytes(model: nn.Module, batch_size: int, length: int) -> int:
    """The bytes that autograd keeps between forward and backward of one micro-batch, without the weights."""
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    saved: dict[int, int] = {}
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept.append(tensor)  # so that no later storage can reuse its address
            saved[storage._cdata] = storage.nbytes()
        return tensor

    tokens = torch.zeros(batch_size, length, dtype=torch.long)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        token_losses(model(tokens), tokens).sum()
    return sum(saved.values())
