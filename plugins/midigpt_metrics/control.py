"""Whether a model does what attribute controls ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_metrics.estimates import ratio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from midigpt_core.contracts import MetricContext
    from midigpt_core.records import BoolArray, ControlAnswers, Figure, GeneratedMusic


@frozen
class _Control:
    """The share of requests whose level was reached: exactly, and to within one level; for each control.

    The baseline is the share of *shuffled* requests: how often the level reached is one that another request for the
    same control asked for, which is what a model gets that pays no attention.
    """

    seed: int
    names: Sequence[str]

    def measure(self, music: GeneratedMusic) -> Mapping[str, Figure]:
        controls = music.controls
        if not len(controls):
            return {}
        figures = {}
        for name, tolerance in (("exact", 0), ("within_one", 1)):
            figures[name] = self._hits(controls, np.ones(len(controls), np.bool_), tolerance)
            for index in np.unique(controls.attribute).tolist():
                figures[f"{name}/{self.names[index]}"] = self._hits(controls, controls.attribute == index, tolerance)
        return figures

    def _hits(self, controls: ControlAnswers, chosen: BoolArray, tolerance: int) -> Figure:
        own = _reached(controls.requested[chosen], controls.reached[chosen], tolerance)
        return ratio(
            self.seed,
            own.astype(np.float64),
            np.ones(len(own)),
            baseline=shuffled_rate(controls, chosen, tolerance),
            baseline_of="shuffled requests",
            count=len(own),
            counted="requests",
            is_share=True,
        )


def shuffled_rate(controls: ControlAnswers, chosen: BoolArray, tolerance: int) -> float | None:
    """The share of hits among all pairs of two different requests for the same control; each request counts alike.

    None where no control was asked for twice."""
    rates = []
    for index in np.unique(controls.attribute[chosen]).tolist():
        same = chosen & (controls.attribute == index)
        requested, reached = controls.requested[same], controls.reached[same]
        count = len(requested)
        if count < 2:
            continue
        hits = _reached(requested[:, None], reached[None, :], tolerance)
        rates.append((count, float(hits.sum() - np.trace(hits)) / (count * (count - 1))))
    total = sum(count for count, _ in rates)
    return sum(count * rate for count, rate in rates) / total if total else None


def _reached(requested: object, reached: object, tolerance: int) -> BoolArray:
    requested, reached = np.asarray(requested, np.int64), np.asarray(reached, np.int64)
    hits: BoolArray = (np.abs(requested - reached) <= tolerance) & (reached >= 0)
    return hits


def build(options: None, context: MetricContext) -> _Control:
    return _Control(context.seed, tuple(attribute.name for attribute in context.encoder.attributes))
