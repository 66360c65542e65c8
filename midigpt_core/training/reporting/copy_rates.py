"""Copy rates of a run: which share of the generated bars is in the training data, exactly or transposed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

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

    @property
    def excess(self) -> float:
        """By how much a rate is above what is allowed, at most; 0: none is."""
        return max(0.0, *(rate.value - self.highest(name) for name, rate in self.rates.items()))

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
