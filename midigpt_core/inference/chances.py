"""Decides by a request's seed which of its bars are written and in which order.

The draws are Python's ``Random(seed)``, as in the public package midigpt 0.4.2.
"""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.inference.planner import Step
    from midigpt_core.inference.request import GenerationRequest


def with_some_bars(request: GenerationRequest, seed: int) -> GenerationRequest:
    """The request with a random ``infill_probability`` of its infill bars, at least one.

    The others become context: they keep their notes, and their attributes and controls are dropped.
    """
    share = request.config.infill_probability
    infill = [prompt for prompt in request.tracks if not prompt.autoregressive and not prompt.ignore]
    targets = sorted({(prompt.id, bar) for prompt in infill for bar in prompt.bars})
    if share >= 1 or not targets:
        return request
    count = max(1, math.floor(share * len(targets) + 0.5))
    kept = {*Random(seed).sample(targets, count)}
    tracks = []
    for prompt in request.tracks:
        if prompt.autoregressive or prompt.ignore:
            tracks.append(prompt)
            continue
        dropped = {bar for bar in prompt.bars if (prompt.id, bar) not in kept}
        tracks.append(
            attrs.evolve(
                prompt,
                bars=[bar for bar in prompt.bars if bar not in dropped],
                bar_attributes={bar: row for bar, row in prompt.bar_attributes.items() if bar not in dropped},
                bar_controls={bar: row for bar, row in prompt.bar_controls.items() if bar not in dropped},
            )
        )
    return attrs.evolve(request, tracks=tracks)


def shuffled(steps: Sequence[Step], seed: int) -> list[Step]:
    """The steps with the infill steps in random order; autoregressive steps stay first."""
    first = [step for step in steps if step.autoregressive]
    infill = [step for step in steps if not step.autoregressive]
    Random(seed).shuffle(infill)
    return [*first, *infill]
