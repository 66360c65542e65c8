"""The size of a GPT-2."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, le

#: Upper limits, far above any trained GPT-2 (GPT-2 XL: 1600 wide, 48 layers, 25 heads), so that no file requests more.
_MAX_WIDTH = 32768
_MAX_LAYERS = 512


@frozen(kw_only=True)
class Gpt2Options:
    """``n_head`` must divide ``n_embd``."""

    #: Width of the residual stream; the feed-forward layers are four times as wide.
    n_embd: int = field(default=512, validator=and_(ge(1), le(_MAX_WIDTH)))
    #: Number of blocks.
    n_layer: int = field(default=6, validator=and_(ge(1), le(_MAX_LAYERS)))
    #: Attention heads per block.
    n_head: int = field(default=8, validator=and_(ge(1), le(_MAX_WIDTH)))
