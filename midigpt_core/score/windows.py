"""The plain window batch: bars of tracks as they are, no augmentation, every option at the encoder's default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from midigpt_core.records import MaskedAs, WindowBatch

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from midigpt_core.records import BoolArray


def plain_windows(
    *, piece: ArrayLike, start_bar: ArrayLike, num_bars: ArrayLike, tracks: ArrayLike, infill: BoolArray
) -> WindowBatch:
    """N windows with nothing masked and nothing changed: ``attrs.evolve`` the columns that are to differ.

    ``piece``, ``start_bar`` and ``num_bars`` have N values, ``tracks`` is [N, T] (-1 beyond a window's last track) and
    ``infill`` bool[N, T, B], as in :class:`~midigpt_core.records.WindowBatch`.
    """
    count = len(infill)

    return WindowBatch(
        piece=np.asarray(piece, np.int64),
        start_bar=np.asarray(start_bar, np.int32),
        num_bars=np.asarray(num_bars, np.int32),
        tracks=np.asarray(tracks, np.int32),
        infill=infill,
        masked=np.zeros_like(infill),
        window_bars=np.zeros(count, np.int32),
        transpose=np.zeros(count, np.int32),
        velocity_scale=np.full(count, np.nan),
        genre=np.full(count, -1, np.int32),
        use_velocity=np.full(count, -1, np.int8),
        use_microtiming=np.full(count, -1, np.int8),
        partial_track=np.full(count, -1, np.int32),
        partial_bars=np.full(count, -1, np.int32),
        masked_as=np.full(count, MaskedAs.MASK_TOKEN, np.uint8),
    )
