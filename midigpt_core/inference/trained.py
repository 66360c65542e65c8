"""The windows that a model was trained on, if its bundle records them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.checkpoint.plain import mapping_or_empty

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.contracts import Encoder


#: The most bars and tracks of any file (docs/limits.md). A model cannot have been trained on more.
_MOST_BARS = 20_000
_MOST_TRACKS = 1_024


@frozen(kw_only=True)
class TrainedWindows:
    #: Window sizes in bars, ascending; empty: any.
    sizes: tuple[int, ...]
    #: Most tracks of a window; None: unknown.
    max_tracks: int | None = None


def trained_windows(encoder: Encoder, provenance: Mapping[str, Any]) -> TrainedWindows:
    """The windows recorded in ``provenance`` that ``encoder`` supports.

    Without a valid record, as in bundles of other programs, all window sizes of the encoder.
    """
    recorded = mapping_or_empty(provenance.get("stream"))
    choices, most = recorded.get("num_bars_choices"), recorded.get("max_tracks")
    sizes: tuple[int, ...] = ()
    if isinstance(choices, list):
        sizes = tuple(sorted({size for size in choices if _is_count(size, _MOST_BARS)}))
    if encoder.window_sizes:
        sizes = tuple(size for size in sizes if size in encoder.window_sizes) or tuple(encoder.window_sizes)
    return TrainedWindows(sizes=sizes, max_tracks=most if _is_count(most, _MOST_TRACKS) else None)


def _is_count(value: object, most: int) -> bool:
    return type(value) is int and 1 <= value <= most
