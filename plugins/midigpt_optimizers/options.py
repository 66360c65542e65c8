"""The options of the optimisers."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt, optional


@frozen(kw_only=True)
class MuonOptions:
    #: Muon's own rate, on the scale of its author (0.02 is usual); null: learning_rate, with steps of AdamW's size.
    learning_rate: float | None = field(default=None, validator=optional(gt(0)))
    #: Share of the momentum that is kept from step to step.
    momentum: float = field(default=0.95, validator=and_(ge(0), lt(1)))
    #: Whether a step looks ahead by its own gradient.
    nesterov: bool = True
    #: Newton-Schulz iterations. More of them do not bring the singular values closer to 1.
    iterations: int = field(default=5, validator=and_(ge(1), le(20)))
