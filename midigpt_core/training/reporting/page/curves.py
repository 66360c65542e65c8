"""The charts of a run as plain values for the page, with as many points as a screen can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.training.reporting.chart_data import COLOURS
from midigpt_core.training.reporting.run_charts import run_charts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.records import Float64Array, Int64Array
    from midigpt_core.training.reporting.chart_data import Chart, Line

#: The most points of a line: more than there are pixels.
MOST_POINTS = 800


def curve_values(metrics: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The charts of :func:`run_charts`, in the same order."""
    return [_chart(chart) for chart in run_charts(metrics)]


def _chart(chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "logarithmic": chart.logarithmic,
        "fromZero": chart.from_zero,
        "form": chart.form,
        "lines": [_line(line) for line in chart.lines],
    }


def _line(line: Line) -> dict[str, Any]:
    places = _extremes(line.y) if line.pale else _even(len(line.y))
    return {
        "label": line.label,
        # The page has a colour of its own for each, by theme.
        "colour": COLOURS.index(line.colour),
        "pale": line.pale,
        "dots": line.dots,
        "x": [int(x) for x in line.x[places].tolist()],
        "y": [float(f"{y:.5g}") if np.isfinite(y) else None for y in line.y[places].tolist()],
    }


def _even(count: int) -> Int64Array:
    """Places of an average: evenly spread, with the first and the last."""
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, MOST_POINTS)).round().astype(np.int64))


def _extremes(values: Float64Array) -> Int64Array:
    """Places of raw values: the least and the largest of each of evenly long parts, so that no spike is lost."""
    if len(values) <= MOST_POINTS:
        return np.arange(len(values))
    parts = np.array_split(np.arange(len(values)), MOST_POINTS // 2)
    low = [part[0] + int(np.argmin(np.where(np.isfinite(values[part]), values[part], np.inf))) for part in parts]
    high = [part[0] + int(np.argmax(np.where(np.isfinite(values[part]), values[part], -np.inf))) for part in parts]
    return np.unique(np.array([*low, *high]))
