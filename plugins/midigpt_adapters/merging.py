"""Adds a LoRA to the weights of its base. Needs torch alone, not peft."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_adapters.names import LEFT, RIGHT
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from midigpt_adapters.options import LoraOptions

_NEXT = "The file is damaged or of another program; choose another."


def merge(options: LoraOptions, adapter: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """See :class:`midigpt_core.contracts.AdapterMerge`: W + alpha / rank * left @ right, rounded once."""
    merged: dict[str, Tensor] = {}
    for name in adapter:
        weight, dot, part = name.rpartition(".")
        if f"{dot}{part}" not in (LEFT, RIGHT):
            raise CheckpointError(f"the adapter has a tensor {name[:80]!r}, which no LoRA has. {_NEXT}")
        if weight in merged:
            continue
        left, right, before = adapter.get(weight + LEFT), adapter.get(weight + RIGHT), base.get(weight)
        if left is None or right is None or before is None:
            raise CheckpointError(f"the adapter's tensor {name[:80]!r} has no counterpart. {_NEXT}")
        sizes = (left.size(0), right.size(1)) if left.dim() == right.dim() == 2 else ()
        if sizes != tuple(before.shape) or left.size(1) != right.size(0):
            raise CheckpointError(
                f"the adapter's tensors for {weight[:80]!r} have shapes {tuple(left.shape)} and {tuple(right.shape)}, "
                f"the weight {tuple(before.shape)}. {_NEXT}"
            )
        # In double precision the sum is the same wherever it is computed, with any number of threads.
        change = (left.double() @ right.double()).mul_(options.alpha / options.rank)
        merged[weight] = change.add_(before).to(before.dtype)
    return merged
