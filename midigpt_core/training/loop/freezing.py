"""Layer freezing for fine-tuning: selected weights are not trained."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from midigpt_core.errors import ConfigError, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn


def freeze(model: nn.Module, patterns: Sequence[str]) -> None:
    """Switch off gradients of the parameters whose name, or the name of a module around them, matches a pattern.

    ``transformer.h.0`` freezes a block, ``transformer.h.[0-3]`` four of them, ``transformer.w?e`` both embeddings.
    Raises :class:`ConfigError` if a pattern matches nothing, or if no parameter is left to train.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        matching = [name for name in parameters if any(fnmatchcase(prefix, pattern) for prefix in _prefixes(name))]
        if not matching:
            known = sorted({prefix for name in parameters for prefix in _prefixes(name)})
            hint = nearest(pattern, known) or f" The model's outermost modules are {_outermost(known)}."
            raise ConfigError(f"freeze: {pattern!r} matches no weight of the model.{hint}")
        for name in matching:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("freeze: no weight is left to train. Freeze fewer weights.")


def _prefixes(name: str) -> list[str]:
    """``a.b.weight`` as ``a``, ``a.b`` and ``a.b.weight``."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _outermost(names: Sequence[str]) -> str:
    return ", ".join(name for name in names if "." not in name)
