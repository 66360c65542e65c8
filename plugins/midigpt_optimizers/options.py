"""The options of the optimisers."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt, optional


@frozen(kw_only=True)
class MuonOptions:
    #: Muon's own rate, as its author counts it (0.02 is usual); null: from learning_rate, for steps of AdamW's size.
    learning_rate: float | None = field(default=None, validator=optional(gt(0)))
    #: Share of the momentum that a step keeps.
    momentum: float = field(default=0.95, validator=and_(ge(0), lt(1)))
    #: Whether a step looks ahead by its own gradient.
    nesterov: bool = True
    #: Newton-Schulz iterations; more of them bring the singular values no closer to 1.
    iterations: int = field(default=5, validator=and_(ge(1), le(20)))
