"""Which bars of a window are to be filled in, and which are masked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.data.component_calls import call_on_windows
from midigpt_core.errors import ComponentError
from midigpt_core.keys import Stage, below, derive, uniforms

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import MaskStrategy
    from midigpt_core.data.settings import StreamSettings
    from midigpt_core.records import BoolArray, Int32Array, UInt64Array


def window_cells(num_tracks: Int32Array, num_bars: Int32Array) -> BoolArray:
    """The cells that each window has: bool[N, T, B] with T and B the largest counts."""
    tracks = np.arange(num_tracks.max(initial=0)) < num_tracks[:, None]
    bars = np.arange(num_bars.max(initial=0)) < num_bars[:, None]
    return tracks[:, :, None] & bars[:, None, :]


def draw_infill(valid: BoolArray, num_bars: Int32Array, keys: UInt64Array, settings: StreamSettings) -> BoolArray:
    """Cells to fill in: bool[N, T, B] (docs/encoder-specification.md, G.3).

    A window has such cells with probability ``infill_probability``. Then a density p is drawn, uniform in 0 ..
    ``infill_bar_fraction``, and each cell is chosen with probability p; if none is, one cell is drawn uniformly. With
    probability ``infill_track_probability`` the cells are instead those of one track, drawn uniformly.
    """
    infill = np.zeros(valid.shape, dtype=np.bool_)
    stage = derive(keys, Stage.INFILL)
    asked = np.flatnonzero(uniforms(stage, 1)[:, 0] < settings.infill_probability)
    if len(asked) == 0:
        return infill
    _, most_tracks, most_bars = valid.shape
    draws = uniforms(stage[asked], 3 + most_tracks * most_bars)
    # A cell uses the random number at its position in its own window, so the batch's padding has no effect.
    place = np.arange(most_tracks)[:, None] * num_bars[asked][:, None, None] + np.arange(most_bars)
    own = valid[asked]
    place = np.where(own, place, 0)
    cell_draws = np.take_along_axis(draws[:, 3:], place.reshape(len(asked), -1), axis=1).reshape(place.shape)
    density = draws[:, 1] * settings.infill_bar_fraction
    chosen = own & (cell_draws < density[:, None, None])

    empty = chosen.sum(axis=(1, 2)) == 0
    single = below(draws[:, 2], own.sum(axis=(1, 2)))
    chosen |= own & (empty[:, None, None] & (place == single[:, None, None]))
    if settings.infill_track_probability > 0:
        _choose_tracks(chosen, own, keys[asked], settings.infill_track_probability)
    infill[asked] = chosen
    return infill


def _choose_tracks(chosen: BoolArray, valid: BoolArray, keys: UInt64Array, probability: float) -> None:
    """In a share of windows, make ``chosen`` bool[N, T, B] one whole track."""
    draws = uniforms(derive(keys, Stage.WHOLE_TRACK), 2)
    whole = draws[:, 0] < probability
    track = below(draws[:, 1], valid.any(axis=2).sum(axis=1))
    of_track = valid & (np.arange(valid.shape[1]) == track[:, None])[:, :, None]
    chosen[whole] = of_track[whole]


class Masker:
    """Applies a mask strategy to a share of the windows and checks that it keeps its contract."""

    def __init__(self, strategy: MaskStrategy, component: ComponentRef, probability: float) -> None:
        self._strategy = strategy
        self._component = component
        self._probability = probability

    def mask(self, valid: BoolArray, infill: BoolArray, keys: UInt64Array, where: Callable[[int], str]) -> BoolArray:
        """Masked cells: bool[N, T, B]. ``where`` names the piece of a window.

        Raises :class:`ComponentError` if the strategy raises an exception or breaks its contract.
        """
        masked = np.zeros(valid.shape, dtype=np.bool_)
        gate = uniforms(derive(keys, Stage.MASK_GATE), 1)[:, 0]
        asked = np.flatnonzero(gate < self._probability)
        if len(asked) == 0:
            return masked
        own, filled, mask_keys = valid[asked], infill[asked], derive(keys[asked], Stage.MASK)

        def call(windows: slice) -> BoolArray:
            return self._strategy.mask(own[windows], filled[windows], mask_keys[windows])

        def where_asked(index: int) -> str:
            return where(int(asked[index]))

        answer = call_on_windows(self._component, call, len(asked), where_asked)
        self._check(answer, own, filled, where_asked)
        masked[asked] = answer
        return masked

    def _check(self, answer: BoolArray, valid: BoolArray, infill: BoolArray, where: Callable[[int], str]) -> None:
        if not isinstance(answer, np.ndarray) or answer.dtype != np.bool_ or answer.shape != valid.shape:
            got = f"{answer.dtype}{list(answer.shape)}" if isinstance(answer, np.ndarray) else type(answer).__name__
            self._refuse(f"mask() returned {got}, not bool{list(valid.shape)}", where(0))
        for wrong, name in ((answer & ~valid, "outside the window"), (answer & infill, "that are to be filled in")):
            if wrong.any():
                window, track, bar = np.argwhere(wrong)[0].tolist()
                self._refuse(f"mask() marked cells {name}, first track {track}, bar {bar}", where(window))

    def _refuse(self, message: str, where: str) -> None:
        raise ComponentError(str(self._component), where, ValueError(message))
