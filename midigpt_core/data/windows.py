"""Windows drawn by key: bars, tracks, augmentation, cells, genre, switches.

``docs/sampling.md`` defines the distribution. Every decision uses random numbers of its own key, so a window depends
only on its draw key, not on what else is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
from attrs import frozen

from midigpt_core._native import WindowSampler
from midigpt_core.corpus.origins import origin
from midigpt_core.data.cells import draw_infill, window_cells
from midigpt_core.data.genres import NO_GENRE, GenreDrawer
from midigpt_core.errors import ConfigError, CorpusError
from midigpt_core.keys import Stage, below, derive, uniforms
from midigpt_core.score.windows import plain_windows

if TYPE_CHECKING:
    from midigpt_core.contracts import Encoder
    from midigpt_core.data.cells import Masker
    from midigpt_core.data.settings import StreamSettings
    from midigpt_core.records import (
        BoolArray,
        Corpus,
        Float64Array,
        Int8Array,
        Int32Array,
        Int64Array,
        UInt64Array,
        WindowBatch,
    )

_DAMAGED = 2


@frozen(eq=False, kw_only=True)
class DrawnWindows:
    """The windows of N draws, n of which found one."""

    #: int64[n], the draw (0 .. N-1) of each window, ascending.
    draw: Int64Array
    windows: WindowBatch


class WindowDrawer:
    """Draws windows of the pieces of a corpus."""

    def __init__(self, corpus: Corpus, encoder: Encoder, masker: Masker | None, settings: StreamSettings) -> None:
        _check_capabilities(encoder, masker, settings)
        self._corpus = corpus
        self._masker = masker
        self._settings = settings
        self._num_attributes = len(encoder.vocabulary.attributes)
        self._genres = GenreDrawer(corpus, encoder) if "genre" in encoder.provides else None
        self._sampler = WindowSampler(
            [shard.columns for shard in corpus.shards],
            sizes=list(settings.num_bars_choices),
            min_tracks=settings.min_tracks,
            max_tracks=settings.max_tracks,
            min_fill_ratio=settings.min_fill_ratio,
        )

    def draw(self, keys: UInt64Array, pieces: Int64Array) -> DrawnWindows:
        """A window of each piece for each draw key. Pieces without a valid window are left out.

        Raises :class:`CorpusError` for a piece whose columns are damaged, :class:`midigpt_core.errors.ComponentError`
        for a mask strategy that fails.
        """
        drawn, start_bar, num_bars, tracks = self._place(keys, pieces)
        keys, pieces = keys[drawn], pieces[drawn]
        tracks = self._drop_tracks(keys, tracks)
        valid = window_cells((tracks >= 0).sum(axis=1), num_bars)
        infill = draw_infill(valid, num_bars, keys, self._settings)
        masked = np.zeros_like(infill)
        if self._masker is not None:
            masked = self._masker.mask(valid, infill, keys, lambda window: str(origin(self._corpus, pieces[window])))
        transpose, velocity_scale = self._augment(keys)
        genre, use_velocity, use_microtiming = self._switch(keys, pieces)
        plain = plain_windows(piece=pieces, start_bar=start_bar, num_bars=num_bars, tracks=tracks, infill=infill)
        windows = attrs.evolve(
            plain,
            masked=masked,
            transpose=transpose,
            velocity_scale=velocity_scale,
            genre=genre,
            use_velocity=use_velocity,
            use_microtiming=use_microtiming,
            attributes_kept=self._keep_attributes(keys),
        )
        return DrawnWindows(draw=drawn, windows=windows)

    def _place(self, keys: UInt64Array, pieces: Int64Array) -> tuple[Int64Array, Int32Array, Int32Array, Int32Array]:
        """Draws that found a window, and its start bar, bar count and tracks."""
        count = len(pieces)
        start_bar = np.empty(count, dtype=np.int32)
        num_bars = np.empty(count, dtype=np.int32)
        tracks = np.empty((count, self._settings.max_tracks), dtype=np.int32)
        status = np.empty(count, dtype=np.uint8)
        self._sampler.draw(
            pieces,
            np.ascontiguousarray(derive(keys, Stage.WINDOW)),
            start_bar=start_bar,
            num_bars=num_bars,
            tracks=tracks.reshape(-1),
            status=status,
        )
        if (status == _DAMAGED).any():
            damaged = origin(self._corpus, int(pieces[np.argmax(status == _DAMAGED)]))
            raise CorpusError(f"{damaged}: the corpus is damaged here. Run `midigpt preprocess` again.")
        drawn = np.flatnonzero(status == 0)
        tracks = tracks[drawn]
        widest = int((tracks >= 0).sum(axis=1).max(initial=0))
        return drawn, start_bar[drawn], num_bars[drawn], np.ascontiguousarray(tracks[:, :widest])

    def _drop_tracks(self, keys: UInt64Array, tracks: Int32Array) -> Int32Array:
        """``tracks`` int32[n, T] without those that are left out; the others keep their order."""
        share = self._settings.track_dropout
        if share == 0 or tracks.shape[1] == 0:
            return tracks
        chances = uniforms(derive(keys, Stage.TRACKS), self._settings.max_tracks)[:, : tracks.shape[1]]
        # Places without a track come last.
        chances = np.where(tracks >= 0, chances, -1.0)
        rank = np.argsort(np.argsort(-chances, axis=1, kind="stable"), axis=1, kind="stable")
        kept = (tracks >= 0) & ((chances >= share) | (rank < self._settings.min_tracks))
        order = np.argsort(~kept, axis=1, kind="stable")
        left = np.take_along_axis(np.where(kept, tracks, np.int32(-1)), order, axis=1)
        return np.ascontiguousarray(left[:, : int(kept.sum(axis=1).max(initial=0))])

    def _augment(self, keys: UInt64Array) -> tuple[Int32Array, Float64Array]:
        """Transposition in semitones and velocity factor."""
        draws = uniforms(derive(keys, Stage.AUGMENT), 2)
        low, high = self._settings.transpose_range
        transpose = (low + below(draws[:, 0], high - low + 1)).astype(np.int32)
        softest, loudest = self._settings.velocity_scale
        if softest == loudest == 1.0:
            return transpose, np.full(len(keys), np.nan)
        return transpose, softest + draws[:, 1] * (loudest - softest)

    def _switch(self, keys: UInt64Array, pieces: Int64Array) -> tuple[Int32Array, Int8Array, Int8Array]:
        """Genre id, and whether velocities and microtiming are written (0 off, -1 the encoder's default)."""
        settings = self._settings
        draws = uniforms(derive(keys, Stage.OPTIONS), 4)
        genre = np.full(len(keys), NO_GENRE, dtype=np.int32)
        if self._genres is not None:
            told = np.flatnonzero(draws[:, 0] < settings.genre_probability)
            genre[told] = self._genres.draw(pieces[told], draws[told, 1])
        return (
            genre,
            _off_or_default(draws[:, 2] < settings.velocity_off_probability),
            _off_or_default(draws[:, 3] < settings.microtiming_off_probability),
        )

    def _keep_attributes(self, keys: UInt64Array) -> BoolArray | None:
        """The attribute controls that are written, bool[N, K]; None: all.

        Each attribute uses the random number at its own position in the vocabulary, so it does not depend on the
        others.
        """
        all_off, each_off = self._settings.attributes_off_probability, self._settings.attribute_dropout
        if all_off == each_off == 0:
            return None
        draws = uniforms(derive(keys, Stage.ATTRIBUTES), 1 + self._num_attributes)
        return (draws[:, :1] >= all_off) & (draws[:, 1:] >= each_off)


def _off_or_default(off: BoolArray) -> Int8Array:
    return np.where(off, 0, -1).astype(np.int8)


def _check_capabilities(encoder: Encoder, masker: Masker | None, settings: StreamSettings) -> None:
    needs = {
        "infill_probability": "infill",
        "infill_track_probability": "infill",
        "velocity_off_probability": "use_velocity",
        "microtiming_off_probability": "use_microtiming",
    }
    if masker is not None:
        needs["mask_apply_probability"] = "mask_bar"
    elif settings.mask_apply_probability > 0:
        raise ConfigError("mask_apply_probability is above 0 but no mask is chosen. Choose one with `mask`, or set 0.")
    for name in ("attributes_off_probability", "attribute_dropout"):
        if getattr(settings, name) > 0 and not encoder.vocabulary.attributes:
            raise ConfigError(f"{name} is above 0, but the encoder has no attributes. Set {name} to 0.")
    for name, capability in needs.items():
        if getattr(settings, name) > 0 and capability not in encoder.provides:
            raise ConfigError(f"{name} is above 0, but the encoder does not provide {capability!r}. Set {name} to 0.")
