"""Finds the weight matrices of a model, for optimisers that step matrices and vectors differently."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from torch import nn

from midigpt_core.contracts import WeightMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator


def weight_matrices(model: Any, *, adapted: bool = False) -> list[WeightMatrix]:
    """The weight matrices of ``model`` that are trained.

    A model names them by a method ``weight_matrices()``. Without that they are the parameters of two dimensions in its
    blocks, the members of an ``nn.ModuleList``; of a model without blocks the weights of its linear layers
    (``nn.Linear``, ``nn.MultiheadAttention``, transformers' ``Conv1D``) except its head, which has as many outputs as
    there are tokens. The three projections in one parameter of ``nn.MultiheadAttention`` are three matrices. The
    outputs are taken to be the first dimension, as in ``nn.Linear``, except in a ``Conv1D``, which stores them second.

    ``adapted``: all trained weights are an adapter's, which the model does not know; they are found without it.
    """
    named = None if adapted else getattr(model, "weight_matrices", None)
    found = _found(model) if named is None else named()
    return [matrix for matrix in found if matrix.parameter.requires_grad]


def _found(model: Any) -> Iterator[WeightMatrix]:
    blocks = [block for module in model.modules() if isinstance(module, nn.ModuleList) for block in module]
    vocabulary = None if blocks else model.architecture_config().get("vocab_size")
    input_first = conv1d()
    # Outside blocks a bare parameter may well be a table, of positions for example.
    with_matrices = (nn.Module,) if blocks else (nn.Linear, nn.MultiheadAttention, *input_first)
    seen: set[int] = set()
    for module in [module for block in blocks or [model] for module in block.modules()]:
        if isinstance(module, nn.Embedding) or not isinstance(module, with_matrices):
            continue
        output_dim = 1 if isinstance(module, input_first) else 0
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() != 2 or parameter.size(output_dim) == vocabulary or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            fused = isinstance(module, nn.MultiheadAttention) and name == "in_proj_weight"
            parts = (parameter.size(0) // 3,) * 3 if fused else ()
            yield WeightMatrix(parameter=parameter, output_dim=output_dim, parts=parts)


def conv1d() -> tuple[type[nn.Module], ...]:
    """transformers' linear layer that stores [in, out], if transformers is loaded: otherwise no model has one."""
    loaded = sys.modules.get("transformers.pytorch_utils")
    return () if loaded is None else (loaded.Conv1D,)
