"""The copy rates that a bundle records, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_core.checkpoint.plain import mapping_or_empty

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LARGEST = 1e15
_WHERE = {"held_out": "held-out pieces", "training": "pieces it was trained on"}


def copy_rates(provenance: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Which excerpts, and how much of what the model generates in them is in its training data, next to its base and
    to the composers' own bars. Nothing for a bundle without rates. ``provenance`` is untrusted."""
    recorded = mapping_or_empty(provenance.get("copies"))
    for name, where in _WHERE.items():
        rates = mapping_or_empty(recorded.get(name))
        model, base, own, bars = (_number(rates.get(part)) for part in ("model", "base", "own", "bars"))
        if model is None:
            continue
        compared = [
            *([] if base is None else [f"its base {base:.0%}"]),
            *([] if own is None else [f"the composers' own bars {own:.0%}"]),
            *([] if bars is None else [f"{bars:,.0f} bars"]),
        ]
        yield where, f"{model:.0%}" + (f" ({', '.join(compared)})" if compared else "")


def _number(value: Any) -> float | None:
    # A file can have NaN, infinity and integers that no float holds.
    return float(value) if type(value) in (int, float) and -_LARGEST < value < _LARGEST else None
