"""Attention within documents on a GPU, block by block: blocks of keys that no query of a block sees cost nothing.

The kernel is PyTorch's ``flex_attention``. What it needs, which blocks to look at and which of them whole, is made here
from the documents' boundaries, so that no mask of the row's length squared is ever built and the host never waits for
the device. (``create_block_mask`` would build that mask first.)
"""

from __future__ import annotations

import importlib.util
import subprocess
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from midigpt_core import terminal
from midigpt_gpt2.boundaries import positions

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_log = terminal.logger("midigpt_gpt2")

#: Tokens of a block, flex_attention's own default.
BLOCK = 128
#: Least compute capability of the kernel's dot products in bfloat16.
_LEAST_CAPABILITY = (8, 0)


@cache
@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def are_computed_on(device: torch.device) -> bool:
    """Whether a device computes :func:`attend_in_blocks`.

    It is tried once, since the kernel is built on the spot and needs more than the device: triton, a C compiler,
    Python's headers. Where that fails the reason is logged.
    """
    if device.type != "cuda" or importlib.util.find_spec("triton") is None:
        return False
    if torch.cuda.get_device_capability(device) < _LEAST_CAPABILITY:
        return False
    try:
        _attend_once(device)
    except (RuntimeError, OSError, subprocess.SubprocessError) as problem:
        reason = str(problem).strip().partition("\n")[0] or type(problem).__name__
        _log.warning(
            "No attention in blocks on %s (%s): packed rows attend under a mask, which is slower.", device, reason
        )
        return False
    return True


def _attend_once(device: torch.device) -> None:
    """One row of two documents, with its gradient, also where whoever asks first wants none."""
    with torch.inference_mode(False), torch.enable_grad():
        heads = torch.zeros(1, 1, BLOCK, 16, device=device, dtype=torch.bfloat16, requires_grad=True)
        documents = torch.arange(BLOCK, device=device).div(BLOCK // 2, rounding_mode="floor")[None]
        attend_in_blocks(heads, heads, heads, document_blocks(documents), None).sum().backward()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)


def document_blocks(document_ids: Tensor) -> BlockMask:
    """Which blocks of keys the blocks of queries look at, for ``document_ids`` int[B, L].

    A query sees the keys from the first token of its document, ``first``, up to itself; padding begins anew at every
    token. ``first`` never falls along a row, so that its values at the ends of a block of queries say it all: blocks of
    keys from that of the lowest on are looked at, and those wholly between the highest and the block itself need no
    look at single tokens.
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
    """How many blocks of keys are ``chosen`` bool[B, n, n] for each block of queries, and which: those come first."""
    counts = chosen.sum(dim=-1, dtype=torch.int32)[:, None]
    order = chosen.int().argsort(dim=-1, descending=True, stable=True).int()[:, None]
    return counts, order


def attend_in_blocks(query: Tensor, key: Tensor, value: Tensor, blocks: BlockMask, scaling: float | None) -> Tensor:
    """``query``, ``key``, ``value`` [B, H, L, d] -> [B, L, H, d]."""
    # Uncompiled it computes all scores: right, and slow. A CPU, where it is only tested, has no other way. Where the
    # whole model is compiled, this is too.
    plain = query.device.type == "cpu" or torch.compiler.is_compiling()
    attention = flex_attention if plain else _compiled()
    mixed: Tensor = attention(query, key, value, block_mask=blocks, scale=scaling)  # type: ignore[operator]
    return mixed.transpose(1, 2)


@cache
def _compiled() -> Callable[..., Any]:
    return torch.compile(flex_attention)
