"""The charts of a run from its metrics: loss, evaluation, learning rate, gradients, speed, padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.terminal import printable
from midigpt_core.training.loop.token_groups import GROUPS
from midigpt_core.training.reporting.chart_data import COLOURS, Chart, Line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.records import Float64Array

    Records = Sequence[dict[str, Any]]

#: The share of the run's steps that a smoothed line averages over.
_SMOOTHED = 1 / 40
#: More dots on a line would overlap.
_MOST_DOTS = 40
_PART = "eval_loss/"
#: Just above the largest float32.
_LARGEST = 1e39
_BLUE, _ORANGE, _GREEN = COLOURS[:3]


def step_records(records: Records) -> Records:
    """The records of optimiser steps."""
    return [record for record in records if "loss" in record]


def evaluation_records(records: Records) -> Records:
    """The records of evaluations."""
    return [record for record in records if "eval_loss" in record]


def run_charts(records: Records) -> list[Chart]:
    """The charts of a run, given every record of its metrics, at least one of them of a step."""
    steps, evaluations = step_records(records), evaluation_records(records)
    return [*_losses(steps, evaluations), *_optimisation(steps), *_efficiency(steps)]


def column(records: Records, name: str) -> Float64Array:
    """The figures ``name`` as float64[n]; NaN where a record lacks it or has an impossible value."""
    return np.array([_figure(record.get(name)) for record in records], dtype=np.float64)


def tokens_text(steps: Records) -> str:
    """The number of tokens of the steps, such as ``1.72 million``."""
    tokens = np.nansum(column(steps, "tokens"))
    if tokens < 1e5:
        return f"{tokens:,.0f}"
    return f"{tokens / 1e6:.3g} million" if tokens < 1e9 else f"{tokens / 1e9:.3g} billion"


def _losses(steps: Records, evaluations: Records) -> Iterator[Chart]:
    whole = _line("evaluation", evaluations, "eval_loss", _ORANGE)
    training = _smoothed("training", column(steps, "step"), column(steps, "loss"), _BLUE)
    yield Chart(title="loss, nats per token", lines=[*training, *([whole] if evaluations else [])], from_zero=True)
    parts = {name.removeprefix(_PART) for record in evaluations for name in record if name.startswith(_PART)}
    kinds = sorted(parts - set(GROUPS))
    groups = [name for name in GROUPS if name in parts]
    for what, names in (("kind of document", kinds), ("type of token", groups)):
        lines = [
            _line(printable(name.replace("_", " "), 40), evaluations, _PART + name, colour)
            for name, colour in zip(names, COLOURS, strict=False)
        ]
        if lines:
            yield Chart(title=f"evaluation loss by {what}", lines=lines, from_zero=True)


def _optimisation(steps: Records) -> Iterator[Chart]:
    at, rate = column(steps, "step"), column(steps, "learning_rate")
    yield Chart(
        title="learning rate",
        lines=[Line(label="rate", x=at, y=rate, colour=_GREEN)],
        from_zero=True,
        form="rate",
    )
    norm = _smoothed("norm", at, column(steps, "gradient_norm"), _ORANGE)
    yield Chart(title="gradient norm before clipping", lines=norm, logarithmic=True)


def _efficiency(steps: Records) -> Iterator[Chart]:
    at, speed = column(steps, "step"), column(steps, "tokens_per_second")
    yield Chart(
        title="tokens per second",
        lines=_smoothed("tokens/s", at, speed, _BLUE),
        from_zero=True,
        form="count",
    )
    seconds = column(steps, "seconds")
    waited = np.divide(column(steps, "data_wait"), seconds, out=np.zeros_like(seconds), where=seconds > 0)
    shares = [
        ("positions without a token", "padding", column(steps, "padding"), _GREEN),
        ("time spent waiting for data", "data wait", waited, _ORANGE),
    ]
    if any("mfu" in record for record in steps):
        shares.append(("model FLOPs, share of the devices' peak", "MFU", column(steps, "mfu"), _BLUE))
    for title, label, values, colour in shares:
        lines = _smoothed(label, at, 100 * values, colour)
        yield Chart(title=title, lines=lines, from_zero=True, form="percent")


def _line(label: str, records: Records, name: str, colour: str) -> Line:
    few = len(records) <= _MOST_DOTS
    return Line(label=label, x=column(records, "step"), y=column(records, name), colour=colour, dots=few)


def _smoothed(label: str, at: Float64Array, values: Float64Array, colour: str) -> list[Line]:
    """Two lines: the values, pale, and their moving average."""
    reach = round(len(values) * _SMOOTHED / 2)
    if not reach:
        return [Line(label=label, x=at, y=values, colour=colour)]
    known = np.isfinite(values)
    sums, counts = (
        np.concatenate([[0.0], np.cumsum(column)]) for column in (np.where(known, values, 0.0), known.astype(float))
    )
    first = np.maximum(np.arange(len(values)) - reach, 0)
    end = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    number = counts[end] - counts[first]
    means = np.divide(sums[end] - sums[first], number, out=np.full(len(values), np.nan), where=number > 0)
    return [
        Line(label=label, x=at, y=values, colour=colour, pale=True),
        Line(label=label, x=at, y=means, colour=colour),
    ]


def _figure(value: object) -> float:
    return float(value) if isinstance(value, int | float) and abs(value) <= _LARGEST else np.nan
