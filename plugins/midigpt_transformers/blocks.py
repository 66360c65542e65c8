"""Block-sparse attention within documents on a GPU: blocks of keys that no query of a block sees cost nothing.

The kernel is PyTorch's ``flex_attention``. It needs the visible blocks, and which of them are visible completely. Both
are computed here from the documents' boundaries, without a mask of the row's length squared and without waiting for the
device. (``create_block_mask`` would build that mask first.)
"""

from __future__ import annotations

import importlib.util
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from midigpt_core import terminal
from midigpt_transformers.boundaries import positions

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_log = terminal.logger("midigpt_transformers")

#: Tokens of a block, flex_attention's own default.
BLOCK = 128
#: Lowest compute capability for the kernel's dot products in bfloat16.
_LEAST_CAPABILITY = (8, 0)


@cache
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def are_computed_on(device: torch.device) -> bool:
    """Whether a device supports :func:`attend_in_blocks`.

    Tried once per device: the kernel is compiled at run time and also needs triton, a C compiler and Python's headers.
    On failure the reason is logged.
    """
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    if torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return False
    try:
        _attend_once(device)
    except (RuntimeError, OSError, subprocess.SubprocessError) as problem:
        reason = str(problem).strip().partition("\n")[0] or type(problem).__name__
        _log.warning("No block-sparse attention on %s (%s): packed rows use a mask, which is slower.", device, reason)
        return False
    return True


def _attend_once(device: torch.device) -> None:
    """Compute attention and gradient for one row of two documents, even if the caller disabled gradients."""
    with torch.inference_mode(False), torch.enable_grad():
        heads = torch.zeros(1, 1, BLOCK, 16, device=device, dtype=torch.bfloat16, requires_grad=True)
        documents = torch.arange(BLOCK, device=device).div(BLOCK // 2, rounding_mode="floor")[None]
        attend_in_blocks(heads, heads, heads, document_blocks(documents), None).sum().backward()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)


def document_blocks(document_ids: Tensor) -> BlockMask:
    """The blocks of keys that each block of queries sees, for ``document_ids`` int[B, L].

    A query sees the keys from the first token of its document, ``first``, up to itself; each padding token is a
    document of its own. ``first`` never decreases along a row, so its values at both ends of a block of queries
    suffice: the visible blocks start at the block of the lower value, and the blocks from the higher value up to the
    query's own block are visible completely.
    """
    length = document_ids.shape[1]
    index = torch.arange(length, device=document_ids.device)
    first = index - positions(document_ids)

    def sees(row: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (first[row, query] <= key) & (key <= query)

    own = index[::BLOCK] // BLOCK
    ends = (index[::BLOCK] + BLOCK - 1).clamp(max=length - 1)
    lowest, highest = first[:, ::BLOCK, None], first[:, ends, None]
    earlier = own < own[:, None]
    looked_at = (lowest // BLOCK <= own) & (own <= own[:, None])
    whole = earlier & (highest <= own * BLOCK)
    partial = looked_at & ~whole
    return BlockMask.from_kv_blocks(
        *_listed(partial),
        *_listed(whole),
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(length, length),
    )


def _listed(chosen: Tensor) -> tuple[Tensor, Tensor]:
    """For each block of queries, how many blocks of keys are ``chosen`` bool[B, n, n], and all blocks, chosen first."""
    counts = chosen.sum(dim=-1, dtype=torch.int32)[:, None]
    order = chosen.int().argsort(dim=-1, descending=True, stable=True).int()[:, None]
    return counts, order


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, blocks: BlockMask, scaling: float | None) -> Tensor:
    """``query`` [B, H, L, d], ``key`` and ``value`` [B, G, L, d] -> [B, L, H, d]; G divides H."""
    # Uncompiled flex_attention computes all scores: correct but slow. It is used on a CPU, for tests only, and inside a
    # compiled model, where it is compiled with the model.
    plain = query.device.type == "cpu" or torch.compiler.is_compiling()
    attention = flex_attention if plain else _compiled()
    grouped = query.shape[1] != key.shape[1]
    mixed: Tensor = attention(query, key, value, block_mask=blocks, scale=scaling, enable_gqa=grouped)  # type: ignore[operator]
    return mixed.transpose(1, 2)


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)
