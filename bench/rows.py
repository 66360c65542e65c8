"""A figure: what was measured, against what, and what is asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from attrs import Factory, asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.measure import Measured

#: What figures stand against unless a row says otherwise.
BASELINE = "midigpt 0.4.2"


@frozen
class Required:
    """What is asked of a figure: of its ratio to the other side's, or of the figure itself."""

    #: ``"ratio"`` or ``"ours"``.
    of: str
    #: ``">="`` or ``"<="``.
    relation: str
    limit: float

    def __str__(self) -> str:
        sign = {">=": "≥", "<=": "≤"}[self.relation]
        return f"{sign} {format_number(self.limit)}{'×' if self.of == 'ratio' else ''}"

    def is_met(self, row: Row) -> bool | None:
        """None where there is nothing to compare with."""
        value = row.ratio if self.of == "ratio" else row.ours
        if value is None:
            return None
        return value >= self.limit if self.relation == ">=" else value <= self.limit


def ratio_at_least(limit: float) -> Required:
    return Required("ratio", ">=", limit)


def ratio_at_most(limit: float) -> Required:
    return Required("ratio", "<=", limit)


def at_least(limit: float) -> Required:
    return Required("ours", ">=", limit)


def at_most(limit: float) -> Required:
    return Required("ours", "<=", limit)


@frozen(kw_only=True)
class Row:
    """One line of the table."""

    #: The work, in a few words; unique within its group.
    name: str
    #: Of ``ours`` and ``theirs``, e.g. ``"files/s"``.
    unit: str
    ours: float
    #: The other side, None where it was not run.
    theirs: float | None = None
    #: What the other side is, e.g. ``"symusic 0.6.0"`` or ``"one thread"``; empty: the figure stands alone.
    against: str = ""
    required: Required | None = None
    #: How it was measured, in a sentence.
    how: str
    #: The figures whose medians ``ours`` and ``theirs`` are.
    samples: Mapping[str, list[float]] = Factory(dict)

    @classmethod
    def of(cls, name: str, unit: str, ours: Measured, theirs: Measured | None = None, **more: Any) -> Self:
        """The medians of what was measured; the other fields by keyword."""
        samples = {"ours": ours.samples, **({} if theirs is None else {"theirs": theirs.samples})}
        median = None if theirs is None else theirs.median
        return cls(name=name, unit=unit, ours=ours.median, theirs=median, samples=samples, **more)

    @property
    def ratio(self) -> float | None:
        return None if self.theirs is None else self.ours / self.theirs

    @property
    def is_met(self) -> bool | None:
        """Whether the figure is as required; None where nothing is, or nothing could be compared."""
        return None if self.required is None else self.required.is_met(self)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        required = values["required"]
        return cls(**{**values, "required": None if required is None else Required(**required)})


def format_number(value: float) -> str:
    """Three digits that matter, with SI letters above a thousand."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g} {letter}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
