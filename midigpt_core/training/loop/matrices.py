"""Which parameters of a model are weight matrices, for optimisers that step matrices otherwise than vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from midigpt_core.contracts import WeightMatrix

if TYPE_CHECKING:
    from collections.abc import Iterator


def weight_matrices(model: Any) -> list[WeightMatrix]:
    """The weight matrices of ``model`` that are trained.

    A model names them by a method ``weight_matrices()``. Without that they are the parameters of two dimensions in its
    blocks, the members of an ``nn.ModuleList``; of a model without blocks all but its embeddings and its head, which
    has as many outputs as there are tokens. The three projections in one parameter of ``nn.MultiheadAttention`` are
    three matrices. The outputs are taken to be the first dimension, as in ``nn.Linear``.
    """
    named = getattr(model, "weight_matrices", None)
    found = _found(model) if named is None else named()
    return [matrix for matrix in found if matrix.parameter.requires_grad]


def _found(model: Any) -> Iterator[WeightMatrix]:
    blocks = [block for module in model.modules() if isinstance(module, nn.ModuleList) for block in module]
    vocabulary = None if blocks else model.architecture_config().get("vocab_size")
    seen: set[int] = set()
    for module in [module for block in blocks or [model] for module in block.modules()]:
        if isinstance(module, nn.Embedding):
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() != 2 or parameter.size(0) == vocabulary or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            fused = isinstance(module, nn.MultiheadAttention) and name == "in_proj_weight"
            yield WeightMatrix(parameter=parameter, parts=(parameter.size(0) // 3,) * 3 if fused else ())
