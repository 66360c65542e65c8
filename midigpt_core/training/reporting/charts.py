"""Line charts on a sheet, drawn with matplotlib in one style."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from midigpt_core.training.reporting.chart_data import WRITE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes
    from matplotlib.ticker import Locator

    from midigpt_core.training.reporting.chart_data import Chart

#: Inches of a chart, and dots per inch.
_WIDTH, _HEIGHT, _DPI = 5.6, 2.5, 110
_HEADING = 0.4


def sheet(heading: str, charts: Sequence[Chart], *, x_label: str, columns: int = 2) -> Figure:
    """A figure with the charts in rows of ``columns``, all with the same x range."""
    rows = math.ceil(len(charts) / columns)
    with _style():
        figure = Figure(figsize=(columns * _WIDTH, rows * _HEIGHT + _HEADING), dpi=_DPI, layout="constrained")
        figure.suptitle(heading, x=0.01, ha="left", fontsize=12)
        every = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for axes, chart in zip(every, charts, strict=False):
            _draw(axes, chart)
            axes.set_xlabel(x_label, fontsize=8)
            axes.tick_params(labelsize=8, labelbottom=True)
        for axes in every[len(charts) :]:
            axes.remove()
    return figure


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG, the same bytes each time."""
    picture = io.BytesIO()
    with _style():
        # Omit matplotlib's version, which would differ between installations.
        figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


@contextlib.contextmanager
def _style() -> Iterator[None]:
    """matplotlib's default style instead of the user's. A dollar sign in a text does not start a formula."""
    with mpl.rc_context({**mpl.rcParamsDefault, "text.parse_math": False}), warnings.catch_warnings():
        # The font may lack characters of a name, e.g. Chinese ones.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _draw(axes: Axes, chart: Chart) -> None:
    axes.set_title(chart.title, loc="left", fontsize=10)
    for line in chart.lines:
        axes.plot(
            line.x,
            line.y,
            color=line.colour,
            label="_" if line.pale else line.label,  # matplotlib leaves labels with this prefix out of the legend
            linewidth=0.8 if line.pale else 1.6,
            alpha=0.4 if line.pale else 1.0,
            marker="o" if line.dots else None,
            markersize=3,
            zorder=2 if line.pale else 3,
        )
    _scale(axes, chart)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: WRITE[chart.form](value)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(color="#e2e5e9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.05), frameon=False, fontsize=8, handlelength=1.2)


def _scale(axes: Axes, chart: Chart) -> None:
    if chart.from_zero:
        axes.set_ylim(0, 1.05 * axes.dataLim.y1 if axes.dataLim.y1 > 0 else None)
    if chart.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(_locator(axes, chart))


def _locator(axes: Axes, chart: Chart) -> Locator:
    """Places labels at round values, at least some of them in the visible range."""
    low, high = axes.get_ylim()
    if chart.logarithmic and high > 1000 * low:
        return LogLocator()
    if chart.logarithmic and high > 5 * low:
        return LogLocator(subs=(1, 2, 5))
    return MaxNLocator(5, steps=[1, 2, 5, 10])
