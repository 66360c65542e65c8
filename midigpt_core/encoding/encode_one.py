"""Encodes one window of one score, for commands and notebooks. What cannot be encoded is an error of one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen

from midigpt_core.errors import EncodingError
from midigpt_core.records import TokenStatus
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.score.windows import plain_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.contracts import Encoder
    from midigpt_core.records import Int32Array, WindowBatch
    from midigpt_core.score.score import Score


@frozen(kw_only=True)
class Part:
    """Bars and tracks of a piece, both counted from 0 within the piece."""

    first_bar: int
    last_bar: int
    #: In the order in which they are written.
    tracks: tuple[int, ...]
    #: (track, bar) cells to fill in.
    infill: tuple[tuple[int, int], ...] = ()

    @property
    def num_bars(self) -> int:
        return self.last_bar - self.first_bar + 1


def part_of(
    score: Score,
    *,
    bars: tuple[int, int] | None = None,
    tracks: Sequence[int] | None = None,
    infill: Sequence[tuple[int, int]] = (),
) -> Part:
    """The part from bar ``bars[0]`` to bar ``bars[1]`` inclusive (None: all bars that every chosen track has) of
    ``tracks`` (None: all).

    Raises EncodingError for a bar or track that the score does not have, and for an infill cell outside the part.
    """
    views = score.tracks
    if not views:
        raise EncodingError("there are no tracks to encode. Use a file with notes.")
    chosen = tuple(range(len(views)) if tracks is None else tracks)
    for track in chosen:
        if not 0 <= track < len(views):
            raise EncodingError(f"there is no track {track}. Tracks are {_span(len(views))}.")
    if len(set(chosen)) != len(chosen) or not chosen:
        raise EncodingError(f"tracks {', '.join(map(str, chosen)) or 'none'}: name each track once, and at least one.")
    count = min(len(views[track].bars) for track in chosen)
    first, last = (0, count - 1) if bars is None else bars
    if not 0 <= first <= last < count:
        raise EncodingError(f"there are no bars {first}-{last}. Bars are {_span(count)}.")
    for track, bar in infill:
        if track not in chosen or not first <= bar <= last:
            raise EncodingError(
                f"infill {track}:{bar} is not among bars {first}-{last} of tracks {', '.join(map(str, chosen))}. "
                "Name a track and a bar that are encoded."
            )
    return Part(first_bar=first, last_bar=last, tracks=chosen, infill=tuple(infill))


def window_of(part: Part) -> WindowBatch:
    """The part of piece 0 as a batch of one window, without augmentation."""
    infill = np.zeros((1, len(part.tracks), part.num_bars), bool)
    for track, bar in part.infill:
        infill[0, part.tracks.index(track), bar - part.first_bar] = True
    return plain_windows(
        piece=[0], start_bar=[part.first_bar], num_bars=[part.num_bars], tracks=[part.tracks], infill=infill
    )


def encode_part(encoder: Encoder, score: Score, part: Part) -> Int32Array:
    """Token ids int32[n] of a part of a score, of any length.

    Raises EncodingError naming what the encoder cannot express: the window size, infilling, a time signature and its
    bar, or a value without a token.
    """
    sizes = encoder.window_sizes
    if sizes and part.num_bars not in sizes:
        raise EncodingError(
            f"{part.num_bars} bars are not a window size of the encoder. "
            f"Choose bars so that there are {_either(sizes)} of them, e.g. 0-{sizes[0] - 1}."
        )
    if part.infill and "infill" not in encoder.provides:
        raise EncodingError("the encoder has no infilling. Leave infill out, or use an encoder that provides it.")
    _check_signatures(encoder, score, part)
    batch = encoder.encode_batch(in_memory_corpus([score]), window_of(part), np.zeros(1, np.int32))
    status = TokenStatus(int(batch.status[0]))
    if status != TokenStatus.OK:
        raise EncodingError(
            f"bars {part.first_bar}-{part.last_bar}: {status.name.lower().replace('_', ' ')}: the encoder has no "
            "tokens for them. Use an encoder with a larger vocabulary, or other bars."
        )
    return batch.tokens


def _check_signatures(encoder: Encoder, score: Score, part: Part) -> None:
    columns = score.columns
    for track in part.tracks:
        start = score.tracks[track].bar_run.start
        run = slice(start + part.first_bar, start + part.last_bar + 1)
        numerators, denominators = columns.bar_numerator[run], columns.bar_denominator[run]
        accepted = encoder.accepts_signatures(numerators, denominators)
        if accepted is None or accepted.all():
            continue
        bar = int(np.argmin(accepted))
        raise EncodingError(
            f"bar {part.first_bar + bar} is in {numerators[bar]}/{denominators[bar]}, a time signature that the "
            "encoder cannot write. Choose other bars, or an encoder that lists it."
        )


def _span(count: int) -> str:
    return "only 0" if count == 1 else f"0 to {count - 1}"


def _either(sizes: Sequence[int]) -> str:
    *most, last = map(str, sizes)
    return f"{', '.join(most)} or {last}" if most else last
