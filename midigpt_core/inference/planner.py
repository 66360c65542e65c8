"""Plans a request: which bars each step writes, and the window that it sees.

Autoregressive steps come first, track by track. A window starts with earlier bars of the track and writes up to its
right edge. The rest of a run of bars is written in one window as soon as that leaves enough earlier bars. Infill steps
follow: groups of the target bars, each in a window centred on it. A step sees the bars that earlier steps wrote.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.inference.request import GenerationRequest, InferenceConfig
    from midigpt_core.inference.trained import TrainedWindows

#: The window, in bars, for an encoder without a list of window sizes.
_DEFAULT_WINDOW = 8


@frozen(kw_only=True)
class Step:
    """One window, and the cells in it that are written together."""

    start_bar: int
    #: Bars of the window. It may extend beyond a piece that is shorter than the narrowest window.
    num_bars: int
    autoregressive: bool
    #: (track, bar) in the order of tracks, then bars.
    cells: tuple[tuple[int, int], ...]

    @property
    def end_bar(self) -> int:
        return self.start_bar + self.num_bars

    @property
    def tracks(self) -> tuple[int, ...]:
        """The tracks that the step writes, ascending."""
        return tuple(sorted({track for track, _ in self.cells}))


def plan(request: GenerationRequest, num_bars: int, trained: TrainedWindows) -> list[Step]:
    """The steps of a request on a piece of ``num_bars`` bars, in their order.

    Bars that the piece does not have are left out: :mod:`midigpt_core.inference.validation` names them.
    """
    config = request.config
    window = window_of(config, num_bars, trained.sizes)
    targets = {
        prompt.id: sorted({bar for bar in prompt.bars if 0 <= bar < num_bars})
        for prompt in request.tracks
        if not prompt.ignore
    }
    autoregressive = [prompt.id for prompt in request.tracks if prompt.autoregressive and targets.get(prompt.id)]
    steps = [
        step
        for track in sorted(autoregressive)
        for step in _autoregressive(track, targets[track], num_bars, window, config)
    ]
    infill = sorted(track for track, bars in targets.items() if bars and track not in autoregressive)
    size = _number(config.tracks_per_step) or trained.max_tracks or len(infill)
    for first in range(0, len(infill), max(size, 1)):
        group = {track: targets[track] for track in infill[first : first + size]}
        steps.extend(_infill(group, num_bars, window, config))
    return steps


def narrowed(step: Step, num_bars: int, window: int, config: InferenceConfig) -> list[Step]:
    """The cells of ``step`` in windows of ``window`` bars."""
    if step.autoregressive:
        (track,) = step.tracks
        return list(_autoregressive(track, [bar for _, bar in step.cells], num_bars, window, config))
    group = {track: [bar for _, bar in cells] for track, cells in groupby(step.cells, key=lambda cell: cell[0])}
    return list(_infill(group, num_bars, window, config))


def window_of(config: InferenceConfig, num_bars: int, window_sizes: Sequence[int]) -> int:
    """The window in bars: as requested, or the widest that is not longer than the piece (else the narrowest)."""
    asked = _number(config.model_dim)
    if asked:
        return asked
    if not window_sizes:
        return max(1, min(num_bars, _DEFAULT_WINDOW))
    return max((size for size in window_sizes if size <= num_bars), default=min(window_sizes))


def waves(steps: Sequence[Step]) -> list[list[int]]:
    """Indices of ``steps`` in groups that can be written together, with the same result as one after another."""
    num_bars = max((max(step.end_bar, *(bar + 1 for _, bar in step.cells)) for step in steps), default=0)
    #: By bar: the first wave that may see the notes that the steps so far write there, and the last wave that saw it.
    written = np.zeros(num_bars, np.int32)
    seen = np.zeros(num_bars, np.int32)
    groups: list[list[int]] = []
    for index, step in enumerate(steps):
        window = slice(step.start_bar, step.end_bar)
        bars = [bar for _, bar in step.cells]
        # An earlier step must not see the notes of this one.
        wave = int(max(written[window].max(initial=0), seen[bars].max(initial=0)))
        written[bars] = np.maximum(written[bars], wave + 1)
        seen[window] = np.maximum(seen[window], wave)
        if wave == len(groups):
            groups.append([])
        groups[wave].append(index)
    return groups


def _autoregressive(
    track: int, bars: Sequence[int], num_bars: int, window: int, config: InferenceConfig
) -> Iterator[Step]:
    least = min(config.min_overlap_bars, window - 1)
    history = max(least, math.ceil(config.ar_overlap * window))
    writes = min(_number(config.bars_per_step) or max(1, window - history), window)
    for first, end in _runs(bars):
        bar = first
        while bar < end:
            if end - bar <= window - min(least, bar):
                start = max(0, end - window)
            else:
                start = max(0, min(bar - (window - writes), num_bars - window))
            until = min(end, start + window)
            yield Step(
                start_bar=start,
                num_bars=window,
                autoregressive=True,
                cells=tuple((track, written) for written in range(bar, until)),
            )
            bar = until


def _infill(group: dict[int, list[int]], num_bars: int, window: int, config: InferenceConfig) -> Iterator[Step]:
    of_track = {track: frozenset(group[track]) for track in sorted(group)}
    bars = sorted(frozenset().union(*of_track.values()))
    if not bars:
        return
    writes = min(_number(config.bars_per_step), window)
    if not writes:
        # A track whose bars fill the window gives no bar of its own as context, which costs more than another step does
        # (docs/infilling.md).
        span = bars[-1] - bars[0] + 1
        looks = window >= num_bars or all(len(targets) < window for targets in of_track.values())
        fits = span < window or (span == window and looks)
        history = max(min(config.min_overlap_bars, window - 1), math.ceil(config.ar_overlap * window))
        writes = window if fits else max(1, window - history)
    first = 0
    while first < len(bars):
        after = bisect_left(bars, bars[first] + writes)
        chunk = bars[first:after]
        first = after
        centred = (chunk[0] + chunk[-1] + 1 - window) // 2
        yield Step(
            start_bar=max(0, min(centred, num_bars - window)),
            num_bars=window,
            autoregressive=False,
            cells=tuple((track, bar) for track, targets in of_track.items() for bar in chunk if bar in targets),
        )


def _runs(bars: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Consecutive runs [first, end) of ascending bars."""
    for _, run in groupby(enumerate(bars), key=lambda pair: pair[1] - pair[0]):
        numbers = [bar for _, bar in run]
        yield numbers[0], numbers[-1] + 1


def _number(value: int | str) -> int:
    return 0 if isinstance(value, str) else value
