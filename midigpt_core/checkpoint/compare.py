"""Which weights differ between two bundles, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from midigpt_core.checkpoint.bundles import load_checkpoint

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from torch import Tensor


def weight_differences(
    first: str | os.PathLike[str], second: str | os.PathLike[str]
) -> list[tuple[str, str | None, str | None]]:
    """:func:`tensor_differences` of two bundles."""
    return tensor_differences("state_dict", load_checkpoint(first).state_dict, load_checkpoint(second).state_dict)


def tensor_differences(
    place: str, first: Mapping[str, Tensor], second: Mapping[str, Tensor]
) -> list[tuple[str, str | None, str | None]]:
    """``(tensor, in the first, in the second)`` for every tensor that differs, bit for bit; None where it is missing.

    Tensors of one type and shape are described by the largest difference of their numbers. Names begin with ``place``.
    """
    found: list[tuple[str, str | None, str | None]] = []
    for name in sorted({*first, *second}):
        left, right = first.get(name), second.get(name)
        if left is None or right is None or (left.dtype, left.shape) != (right.dtype, right.shape):
            found.append((f"{place}.{name}", _kind(left), _kind(right)))
        elif not torch.equal(left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8)):
            apart = (left.double() - right.double()).abs()
            found.append((f"{place}.{name}", _kind(left), f"up to {apart.max().item():.3g} away"))
    return found


def _kind(tensor: Tensor | None) -> str | None:
    if tensor is None:
        return None
    return f"{str(tensor.dtype).removeprefix('torch.')} {'x'.join(map(str, tensor.shape))}"
