"""The options of the adapters."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt


@frozen(kw_only=True)
class LoraOptions:
    #: Width of the two thin matrices of a layer.
    rank: int = field(default=8, validator=and_(ge(1), le(4096)))
    #: Their product counts alpha / rank times.
    alpha: float = field(default=16.0, validator=gt(0))
    #: Layers that are adapted, by name or the end of a name (c_attn, attn.*, q_proj); * and ? are wildcards; empty: all
    #: linear layers of the transformer blocks.
    targets: list[str] = field(factory=list)
    #: Share of a layer's inputs that the adapter leaves out in training, drawn at every step.
    dropout: float = field(default=0.0, validator=and_(ge(0), lt(1)))
