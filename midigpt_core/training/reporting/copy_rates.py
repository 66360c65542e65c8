"""Copy rates of a run: which share of the generated bars is in the training data, exactly or transposed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

# Of a share of bars that is counted as bars again.
_ROUNDING = 1e-6
TRAINING, HELD_OUT = "training", "held_out"
#: What the excerpts are of, by name.
EXCERPTS_OF = {TRAINING: "pieces that are trained on", HELD_OUT: "held-out pieces"}


@frozen(kw_only=True)
class CopyRate:
    """A share of generated bars that are copies."""

    value: float
    #: How many bars it is a share of.
    bars: int
    #: The same share of the composer's own bars.
    own: float


@frozen(kw_only=True)
class CopyReport:
    """The copy rates of one evaluation, by :data:`EXCERPTS_OF`."""

    rates: Mapping[str, CopyRate]
    #: Those of the model that the run started from; empty: it started from none.
    base: Mapping[str, CopyRate]
    #: The rates may not be above ``limit`` times the share of the held-out pieces' own bars.
    limit: float

    def scalars(self) -> dict[str, float]:
        """The rates under flat names, for loggers: ``copies/training``, ``copies/held_out``."""
        return {f"copies/{name}": rate.value for name, rate in self.rates.items()}

    def highest(self, name: str) -> float:
        """The highest rate that is allowed in excerpts of ``name``. What the base copies is allowed too: no shorter
        training copies less."""
        own = self.rates[HELD_OUT].own if HELD_OUT in self.rates else 0.0
        base = self.base.get(name)
        return max(self.limit * own, 0.0 if base is None else base.value)

    def above(self, name: str) -> float:
        """By how much the rate in excerpts of ``name`` is above what is allowed; 0: it is not.

        A single bar above it is chance: of few bars, the composer's own share is easily 0.
        """
        rate = self.rates[name]
        above = rate.value - self.highest(name)
        return above if above * rate.bars > 1 + _ROUNDING else 0.0

    @property
    def excess(self) -> float:
        """By how much a rate is above what is allowed, at most; 0: none is, or there is no held-out rate to compare."""
        return max(map(self.above, self.rates), default=0.0) if HELD_OUT in self.rates else 0.0

    def record(self) -> dict[str, Any]:
        """Plain values for a bundle: the rates next to those of the base and of the composer's own bars."""
        return {
            "limit": self.limit,
            **{
                name: {
                    "model": rate.value,
                    **({"base": self.base[name].value} if name in self.base else {}),
                    **({"own": rate.own} if name == HELD_OUT else {}),
                    "bars": rate.bars,
                }
                for name, rate in self.rates.items()
            },
        }
