"""Line charts on a sheet, drawn with Pillow: what a run's curves need of a plotting library, and no more.

Everything is drawn at twice its size and halved at the end, which smooths the lines.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from attrs import field, frozen
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from midigpt_core.records import Float64Array

    Colour = tuple[int, int, int]

#: Told apart by people who see no red or no green too (Okabe and Ito, "Color universal design", 2008).
COLOURS: tuple[Colour, ...] = (
    (0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 96, 106),
    (150, 120, 70), (20, 24, 32),
)  # fmt: skip
_PAPER, _AREA, _GRID, _EDGE, _INK = (255, 255, 255), (250, 251, 252), (226, 229, 233), (150, 156, 166), (40, 44, 52)

_SCALE = 2
_WIDTH, _HEIGHT, _HEADING = 560, 250, 40
_LEFT, _TOP, _RIGHT, _BOTTOM = 58, 28, 128, 34
_GAP = 10
#: Labelled lines across a chart, about.
_TICKS = 5


@frozen(eq=False, kw_only=True)
class Line:
    """``y`` over ``x``, float64[n] each; values that are not finite leave a gap."""

    label: str
    x: Float64Array
    y: Float64Array
    colour: Colour
    #: A thin, pale line behind the others: raw values, beside their average.
    pale: bool = False
    #: A dot at each point: where there are few.
    dots: bool = False


@frozen(eq=False, kw_only=True)
class Chart:
    """Lines over one axis."""

    title: str
    lines: Sequence[Line]
    logarithmic: bool = False
    #: The axis starts at 0 rather than at the lowest value.
    from_zero: bool = False
    write: Callable[[float], str] = field(default=lambda value: f"{value:g}")


def sheet(heading: str, charts: Sequence[Chart], *, x_label: str, columns: int = 2) -> Image.Image:
    """A picture with the charts side by side, row after row, all over the same stretch of x."""
    rows = math.ceil(len(charts) / columns)
    size = (columns * _WIDTH + _GAP, _HEADING + rows * _HEIGHT + _GAP)
    image = Image.new("RGB", (size[0] * _SCALE, size[1] * _SCALE), _PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((_GAP * _SCALE, 12 * _SCALE), heading, _INK, _font(15))
    longest = max((float(line.x.max()) for chart in charts for line in chart.lines if line.x.size), default=1.0)
    for index, chart in enumerate(charts):
        corner = (index % columns * _WIDTH, _HEADING + index // columns * _HEIGHT)
        _Area.of(chart, corner, longest).draw(draw, chart, x_label)
    return image.resize(size, Image.Resampling.LANCZOS)


@frozen(eq=False, kw_only=True)
class _Area:
    """Where a chart's lines are drawn, in pixels of the large picture, and the values at its edges."""

    left: int
    top: int
    right: int
    bottom: int
    x_high: float
    low: float
    high: float
    logarithmic: bool
    ticks: Sequence[float]

    @classmethod
    def of(cls, chart: Chart, corner: tuple[int, int], x_high: float) -> _Area:
        values = np.concatenate([line.y for line in chart.lines] or [np.zeros(0)])
        values = values[np.isfinite(values) & ((values > 0) | (not chart.logarithmic))]
        low, high = (float(values.min()), float(values.max())) if values.size else (1.0, 1.0)
        ticks = _decades(low, high) if chart.logarithmic else _round_steps(0.0 if chart.from_zero else low, high)
        return cls(
            left=(corner[0] + _LEFT) * _SCALE,
            top=(corner[1] + _TOP) * _SCALE,
            right=(corner[0] + _WIDTH - _RIGHT) * _SCALE,
            bottom=(corner[1] + _HEIGHT - _BOTTOM) * _SCALE,
            x_high=max(x_high, 1.0),
            low=min(ticks[0], low),
            high=max(ticks[-1], high),
            logarithmic=chart.logarithmic,
            ticks=ticks,
        )

    def x(self, value: float) -> float:
        return self.left + value / self.x_high * (self.right - self.left)

    def y(self, value: float) -> float:
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def draw(self, draw: ImageDraw.ImageDraw, chart: Chart, x_label: str) -> None:
        draw.text((self.left, self.top - 20 * _SCALE), chart.title, _INK, _font(13))
        draw.rectangle((self.left, self.top, self.right, self.bottom), _AREA)
        for tick in self.ticks:
            draw.line((self.left, self.y(tick), self.right, self.y(tick)), _GRID, _SCALE)
            draw.text((self.left - 5 * _SCALE, self.y(tick)), chart.write(tick), _INK, _font(10), anchor="rm")
        for tick in _round_steps(0.0, self.x_high):
            if tick <= self.x_high:
                draw.line((self.x(tick), self.top, self.x(tick), self.bottom), _GRID, _SCALE)
                draw.text((self.x(tick), self.bottom + 4 * _SCALE), f"{tick:,.0f}", _INK, _font(10), anchor="mt")
        draw.text((self.right + 22 * _SCALE, self.bottom + 4 * _SCALE), x_label, _INK, _font(10), anchor="lt")
        draw.line((self.left, self.top, self.left, self.bottom, self.right, self.bottom), _EDGE, _SCALE)
        for line in sorted(chart.lines, key=lambda line: not line.pale):
            self._draw_line(draw, line)
        for place, line in enumerate(line for line in chart.lines if not line.pale):
            height = self.top + (6 + 18 * place) * _SCALE
            draw.line((self.right + 8 * _SCALE, height, self.right + 22 * _SCALE, height), line.colour, 3 * _SCALE)
            draw.text((self.right + 26 * _SCALE, height), line.label, _INK, _font(11), anchor="lm")

    def _draw_line(self, draw: ImageDraw.ImageDraw, line: Line) -> None:
        colour, width = (_paled(line.colour), _SCALE) if line.pale else (line.colour, 2 * _SCALE)
        drawable = np.isfinite(line.y) & ((line.y > 0) | (not self.logarithmic))
        runs = np.split(np.arange(len(line.y)), np.flatnonzero(~drawable))
        for run in (run[drawable[run]] for run in runs):
            points = [(self.x(line.x[index]), self.y(line.y[index])) for index in run.tolist()]
            if len(points) > 1:
                draw.line(points, colour, width, joint="curve")
            for x, y in points if line.dots or len(points) == 1 else ():
                draw.circle((x, y), 2.5 * _SCALE, colour)


def _round_steps(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that reach from below ``low`` to above ``high``."""
    spread = high - low or abs(high) or 1.0
    rough = spread / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten around the values, with twos and fives where there are few of them."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    lowest = max((tick for tick in ticks if tick <= low), default=ticks[0])
    highest = min((tick for tick in ticks if tick >= high and tick > lowest), default=ticks[-1])
    return [tick for tick in ticks if lowest <= tick <= highest]


def _paled(colour: Colour) -> Colour:
    red, green, blue = (255 - (255 - part) * 2 // 5 for part in colour)
    return red, green, blue


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size * _SCALE)
