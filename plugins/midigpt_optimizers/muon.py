"""Muon: the step of a weight matrix is its orthogonalised momentum. AdamW steps the other parameters.

Keller Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024,
https://kellerjordan.github.io/posts/muon/). Steps are scaled to the size of AdamW's by the rule of Liu et al., "Muon is
Scalable for LLM Training" (2025, arXiv:2502.16982). ``torch.optim.Muon`` computes the same, but does not support a
parameter that contains several matrices or is stored as [in, out], and needs a second optimiser for other parameters.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import AdamW, Optimizer

from midigpt_core.errors import ConfigError
from midigpt_optimizers.newton_schulz import orthogonalized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor
    from torch.nn import Parameter

    from midigpt_core.contracts import OptimizerContext, WeightMatrix
    from midigpt_optimizers.options import MuonOptions

#: The root mean square of AdamW's steps relative to its learning rate, as measured by Liu et al.
_RMS_OF_ADAMW = 0.2
#: About how many numbers are orthogonalised at a time. A step needs memory for some copies of them.
_CHUNK = 1 << 22


class Muon(Optimizer):
    """Steps the parameter groups that have ``momentum``, which are weight matrices. AdamW steps the other groups."""

    def __init__(self, adamw: AdamW, groups: Sequence[dict[str, Any]], matrices: Sequence[WeightMatrix]) -> None:
        """``adamw`` steps the other parameters. Each of ``groups`` has ``lr``, ``weight_decay``, ``momentum``,
        ``nesterov``, ``iterations`` and ``rms_of_adamw`` (whether ``lr`` is AdamW's)."""
        self._adamw = adamw
        self._matrices = {id(matrix.parameter): matrix for matrix in matrices}
        super().__init__([*adamw.param_groups, *groups], {})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        # Loading a state replaces the groups.
        self._adamw.param_groups = [group for group in self.param_groups if "momentum" not in group]
        self._adamw.state = self.state
        self._adamw.step()
        for group in self.param_groups:
            if "momentum" in group:
                self._step_matrices(group)
        return loss

    def _step_matrices(self, group: dict[str, Any]) -> None:
        parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
        for chunk in _chunks(parameters):
            self._step_chunk(chunk, group)

    def _step_chunk(self, parameters: Sequence[Parameter], group: dict[str, Any]) -> None:
        directions = [self._direction(parameter, group) for parameter in parameters]
        matrices = [self._matrices[id(parameter)] for parameter in parameters]
        parts = [_parts(direction, matrix) for direction, matrix in zip(directions, matrices, strict=True)]
        _orthogonalize([part for of_one in parts for part in of_one], group["iterations"])
        for parameter, direction, matrix, of_one in zip(parameters, directions, matrices, parts, strict=True):
            for part in of_one:
                part.mul_(_scale(part, matrix, rms_of_adamw=group["rms_of_adamw"]))
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(_split_as(direction, parameter), alpha=-group["lr"])

    def _direction(self, parameter: Parameter, group: dict[str, Any]) -> Tensor:
        """The direction of the step before orthogonalisation: a new tensor, complete on every rank."""
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(gradient)
        momentum = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum.clone()
        return direction.full_tensor() if isinstance(direction, DTensor) else direction


def _chunks(parameters: Sequence[Parameter]) -> Iterator[list[Parameter]]:
    """Parameters of one shape at a time: as many as have :data:`_CHUNK` numbers together, at least one.

    The order is a function of the shapes, so it is the same on every rank.
    """
    by_shape: dict[torch.Size, list[Parameter]] = defaultdict(list)
    for parameter in parameters:
        by_shape[parameter.shape].append(parameter)
    for shape, alike in by_shape.items():
        count = max(1, _CHUNK // shape.numel())
        for begin in range(0, len(alike), count):
            yield alike[begin : begin + count]


def _parts(direction: Tensor, matrix: WeightMatrix) -> list[Tensor]:
    """The matrices that a parameter contains, as views."""
    if not matrix.parts:
        return [direction]
    ends = [sum(matrix.parts[:count]) for count in range(len(matrix.parts) + 1)]
    return [direction.narrow(matrix.output_dim, begin, end - begin) for begin, end in pairwise(ends)]


def _orthogonalize(matrices: Sequence[Tensor], iterations: int) -> None:
    """Orthogonalise ``matrices`` in place, those of one shape together."""
    by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
    for matrix in matrices:
        by_shape[matrix.shape].append(matrix)
    for alike in by_shape.values():
        for matrix, result in zip(alike, orthogonalized(torch.stack(alike), iterations), strict=True):
            matrix.copy_(result)


def _scale(matrix: Tensor, stored: WeightMatrix, *, rms_of_adamw: bool) -> float:
    """The factor for the step of an orthogonal matrix."""
    if rms_of_adamw:
        return _RMS_OF_ADAMW * sqrt(max(matrix.shape))
    outputs, inputs = matrix.shape[stored.output_dim], matrix.shape[1 - stored.output_dim]
    return sqrt(max(1.0, outputs / inputs))


def _split_as(whole: Tensor, parameter: Parameter) -> Tensor:
    if not isinstance(parameter, DTensor):
        return whole
    return distribute_tensor(whole, parameter.device_mesh, parameter.placements)


def build(options: MuonOptions, context: OptimizerContext) -> Muon:
    """Muon for the weight matrices of the transformer blocks, AdamW for embeddings, head, norms and biases.

    Raises :class:`midigpt_core.errors.ConfigError` if no weight matrix is trained.
    """
    if not context.matrices:
        raise ConfigError(
            "optimizer: muon has nothing to step: no weight matrix of the model's transformer blocks is trained "
            "(freeze may list them). Choose optimizer 'adamw'."
        )
    chosen = {id(matrix.parameter) for matrix in context.matrices}
    rest = [
        {"params": [one for one in parameters if id(one) not in chosen], "weight_decay": weight_decay}
        for parameters, weight_decay in ((context.decayed, context.weight_decay), (context.undecayed, 0.0))
    ]
    matrices = {
        "params": [matrix.parameter for matrix in context.matrices],
        "lr": context.learning_rate if options.learning_rate is None else options.learning_rate,
        "weight_decay": context.weight_decay,
        "momentum": options.momentum,
        "nesterov": options.nesterov,
        "iterations": options.iterations,
        "rms_of_adamw": options.learning_rate is None,
    }
    adamw = AdamW(rest, lr=context.learning_rate, betas=context.betas, fused=context.fused)
    return Muon(adamw, [matrices], context.matrices)
