"""Means over excerpts with bootstrap intervals (Efron, "Bootstrap methods: another look at the jackknife", 1979)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve

from midigpt_core.keys import Stage, below, derive, uniforms
from midigpt_core.records import Figure

if TYPE_CHECKING:
    from midigpt_core.records import Float64Array

#: Resamples of a bootstrap, and how many are drawn at once.
_RESAMPLES = 1000
_AT_ONCE = 50
_INTERVAL = (0.025, 0.975)


def resampled(seed: int, sums: Float64Array) -> Float64Array:
    """Sums of columns over bootstrap resamples of rows: float64[1000, k] for ``sums`` float64[N, k]."""
    count = len(sums)
    out = np.zeros((_RESAMPLES, sums.shape[1]))
    for first in range(0, _RESAMPLES, _AT_ONCE):
        keys = derive(seed, Stage.RESAMPLE, np.arange(first, first + _AT_ONCE))
        drawn = below(uniforms(keys, count), count) + np.arange(_AT_ONCE)[:, None] * count
        times = np.bincount(drawn.ravel(), minlength=_AT_ONCE * count).reshape(_AT_ONCE, count)
        out[first : first + _AT_ONCE] = times @ sums
    return out


def ratio(seed: int, sums: Float64Array, weights: Float64Array, **more: Any) -> Figure:
    """The sum of ``sums`` over that of ``weights``, both float64[N], a value per excerpt, with its interval.

    There is no value if the weights are 0. ``more``: other fields of the figure.
    """
    figure = Figure(value=share(sums, weights), **more)
    if figure.value is None:
        return figure
    totals = resampled(seed, np.stack([sums, weights], axis=1).astype(np.float64))
    return with_interval(figure, totals[:, 0], totals[:, 1])


def with_interval(figure: Figure, sums: Float64Array, weights: Float64Array) -> Figure:
    """The figure with the interval of the ratios of resampled ``sums`` and ``weights``."""
    known = weights > 0
    low, high = np.quantile(sums[known] / weights[known], _INTERVAL)
    return evolve(figure, low=float(low), high=float(high))


def share(sums: Float64Array, weights: Float64Array) -> float | None:
    """The sum of ``sums`` over that of ``weights``; None if that is 0."""
    total = float(weights.sum())
    return float(sums.sum()) / total if total > 0 and math.isfinite(total) else None


def per_excerpt(piece: Any, count: int, values: Any = None) -> Float64Array:
    """Sums of ``values`` (None: ones) by excerpt: float64[N] for excerpt numbers ``piece``."""
    return np.bincount(piece, values, minlength=count).astype(np.float64)
