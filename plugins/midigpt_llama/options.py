"""The size of a Llama."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, optional

#: Upper limits, far above any model of music (the largest Llama: 16384 wide, 126 layers, 128 heads), so that no file
#: requests more.
_MAX_WIDTH = 32768
_MAX_INNER = 131072
_MAX_LAYERS = 512
#: The largest base of a trained Llama is 500,000.
_MAX_THETA = 1e9


@frozen(kw_only=True)
class LlamaOptions:
    """``n_head`` must divide ``n_embd`` into heads of an even width, and ``n_kv_head`` must divide ``n_head``."""

    #: Width of the residual stream.
    n_embd: int = field(default=512, validator=and_(ge(1), le(_MAX_WIDTH)))
    #: Number of blocks.
    n_layer: int = field(default=6, validator=and_(ge(1), le(_MAX_LAYERS)))
    #: Attention heads (of queries) per block.
    n_head: int = field(default=8, validator=and_(ge(1), le(_MAX_WIDTH)))
    #: Heads of keys and values, each shared by ``n_head / n_kv_head`` heads of queries; null: half of ``n_head``, or
    #: ``n_head`` if it is odd.
    n_kv_head: int | None = field(default=None, validator=optional(and_(ge(1), le(_MAX_WIDTH))))
    #: Inner width of the feed-forward layers; null: as many weights per block as ``gpt2`` has (three times ``n_embd``
    #: if ``n_kv_head`` is half of ``n_head``), rounded up to a multiple of 32.
    n_inner: int | None = field(default=None, validator=optional(and_(ge(1), le(_MAX_INNER))))
    #: Base of the rotary positions: the slowest pair of numbers of a head turns once in nearly 2 pi times as many
    #: tokens.
    rope_theta: float = field(default=10000.0, validator=and_(gt(1.0), le(_MAX_THETA)))

    @property
    def kv_heads(self) -> int:
        """``n_kv_head``, or what null stands for."""
        if self.n_kv_head is not None:
            return self.n_kv_head
        return self.n_head if self.n_head % 2 else self.n_head // 2

    @property
    def inner(self) -> int:
        """``n_inner``, or what null stands for."""
        if self.n_inner is not None:
            return self.n_inner
        # A block's matrices have 12 n_embd^2 weights in gpt2; attention takes (2 + 2 kv_heads / n_head) n_embd^2 here.
        width = self.n_embd * (10 * self.n_head - 2 * self.kv_heads) / (3 * self.n_head)
        return max(1, -(-round(width) // 32)) * 32
