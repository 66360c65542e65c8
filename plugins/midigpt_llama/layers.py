"""The parts of a Llama's blocks: what transformers' modules compute, in fewer passes over memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from midigpt_transformers.documents import attend
from torch import nn
from torch.nn.functional import rms_norm, silu

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import Cache


class Rotations(nn.Module):
    """The angles of rotary positions, as cosines and sines."""

    def __init__(self, head_size: int, theta: float) -> None:
        super().__init__()
        self._head_size = head_size
        self._theta = theta

    def forward(self, hidden: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """``position_ids`` int64[B, L] -> cosines and sines [B, L, 1, head size / 2], of ``hidden``'s type."""
        angles = position_ids[:, :, None, None].float() * self.speeds(position_ids.device)
        return angles.cos().to(hidden.dtype), angles.sin().to(hidden.dtype)

    def speeds(self, device: torch.device | None = None) -> Tensor:
        """By how many radians a position turns each pair of numbers: float32[head size / 2]."""
        # Not a buffer: in a model that is cast to 16 bits, angles would be wrong by whole turns.
        numbers = torch.arange(0, self._head_size, 2, dtype=torch.float32, device=device)
        return 1.0 / self._theta ** (numbers / self._head_size)


class RmsNorm(nn.Module):
    """transformers' ``LlamaRMSNorm`` with its weight."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.weight = made.weight
        self._epsilon = made.variance_epsilon

    def forward(self, hidden: Tensor) -> Tensor:
        return rms_norm(hidden, self.weight.shape, self.weight, self._epsilon)


class FeedForward(nn.Module):
    """transformers' ``LlamaMLP`` with its layers."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.gate_proj = made.gate_proj
        self.up_proj = made.up_proj
        self.down_proj = made.down_proj

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = self.down_proj(silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return output


class Attention(nn.Module):
    """transformers' ``LlamaAttention`` with its layers, always with our attention within documents."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self.q_proj = made.q_proj
        self.k_proj = made.k_proj
        self.v_proj = made.v_proj
        self.o_proj = made.o_proj
        self._layer = made.layer_idx
        self._head_size = made.head_dim

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        *,
        cache: Cache | None = None,
        documents: Any = None,
        **_unused: Any,
    ) -> tuple[Tensor, None]:
        batch, length, _ = hidden_states.shape
        size = self._head_size
        query = rotated(self.q_proj(hidden_states).view(batch, length, -1, size), *position_embeddings)
        key = rotated(self.k_proj(hidden_states).view(batch, length, -1, size), *position_embeddings)
        value = self.v_proj(hidden_states).view(batch, length, -1, size)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        # transformers 5.24 renamed the argument.
        cache = past_key_values if cache is None else cache
        if cache is not None:
            key, value = cache.update(key, value, self._layer)
        mixed, _ = attend(self, query, key, value, attention_mask, documents=documents)
        output: Tensor = self.o_proj(mixed.reshape(batch, length, -1))
        return output, None


def rotated(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """``heads`` [B, L, H, d], each pair of numbers (i, i + d/2) turned by its angle."""
    first, second = heads.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
