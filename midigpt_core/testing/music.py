"""Small pieces of music for the checks."""

from __future__ import annotations

import wave
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.score import Score
from midigpt_core.score.columns import in_memory_corpus
from midigpt_core.score.windows import plain_windows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from midigpt_core.records import Corpus, WindowBatch

#: Bars of every piece.
BARS = 8
_QUARTER = 480


def _track(program: int, drum: bool, bars: int, beats: int, pitches: Sequence[int]) -> dict[str, Any]:
    notes = [
        [bar, beat * _QUARTER, _QUARTER // (1 + beat % 2), pitches[(bar + beat) % len(pitches)], 40 + 8 * beat, 0]
        for bar in range(bars)
        for beat in range(beats)
    ]
    return {"program": program, "drum": drum, "notes": notes}


def _piece(beats: int) -> Score:
    tracks = [
        _track(0, False, BARS, beats, (60, 64, 67)),
        _track(33, False, BARS, beats, (36, 43)),
        _track(0, True, BARS, beats, (36, 42, 38, 42)),
    ]
    bars = [[beats, 4, float(beats)]] * BARS
    return Score.from_dict({"resolution": _QUARTER, "tempo": 500_000, "bars": bars, "tracks": tracks})


@cache
def scores() -> tuple[Score, ...]:
    """Three tracks of quarter and eighth notes in eight bars: one piece in 4/4, one in 3/4."""
    return _piece(4), _piece(3)


#: Bars of the piece for :func:`long_piece`.
MANY_BARS = 300
_SIGNATURES = ((4, 4), (3, 4), (6, 8), (7, 8), (5, 4), (3, 8), (2, 2), (4, 4))


def _one_track(bars: Sequence[tuple[int, int]], notes: Sequence[tuple[int, int, int, int]]) -> Score:
    """A track from notes (bar, onset, duration, pitch) in bars of these signatures; times in ticks."""
    rows = [[numerator, denominator, 4.0 * numerator / denominator] for numerator, denominator in bars]
    track = {"program": 0, "drum": False, "notes": [[*note, 80, 0] for note in notes]}
    return Score.from_dict({"resolution": _QUARTER, "tempo": 500_000, "bars": rows, "tracks": [track]})


@cache
def late_onsets() -> Score:
    """A note in the last tick of every bar, of a pitch of its own."""
    return _one_track([(4, 4)] * BARS, [(bar, 4 * _QUARTER - 1, _QUARTER, 60 + bar) for bar in range(BARS)])


@cache
def long_notes() -> Score:
    """A note in every bar that lasts for two and a half bars, of a pitch of its own."""
    return _one_track([(4, 4)] * BARS, [(bar, 2 * _QUARTER, 10 * _QUARTER, 60 + bar) for bar in range(BARS)])


@cache
def empty_bars() -> Score:
    """Notes in every third bar alone."""
    return _one_track([(4, 4)] * BARS, [(bar, 0, _QUARTER, 60 + bar) for bar in range(0, BARS, 3)])


@cache
def thick_chords() -> Score:
    """Sixteen pitches at once, in every bar."""
    return _one_track(
        [(4, 4)] * BARS, [(bar, 0, _QUARTER, 40 + bar + 3 * voice) for bar in range(BARS) for voice in range(16)]
    )


@cache
def odd_signatures() -> Score:
    """Eight bars, six of other signatures than 4/4, with a note in each."""
    return _one_track(_SIGNATURES, [(bar, 0, _QUARTER // 2, 60 + bar) for bar in range(BARS)])


@cache
def long_piece() -> Score:
    """A note in each of many bars; the pitch tells the bar among 48."""
    return _one_track([(4, 4)] * MANY_BARS, [(bar, 0, _QUARTER, 36 + bar % 48) for bar in range(MANY_BARS)])


def write_tone(path: Path, seconds: float = 0.5) -> None:
    """Write a tone of 440 Hz as a WAV file of one channel."""
    rate = 8000
    wave_form = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        sound.writeframes((wave_form * 32767).astype("<i2").tobytes())


@cache
def corpus() -> Corpus:
    return in_memory_corpus(scores())


def windows(
    pieces: Sequence[int], num_bars: int, num_tracks: int = 3, *, infill: bool = False, start_bar: int = 0
) -> WindowBatch:
    """Bars of the first tracks of pieces, without augmentation; ``infill``: the second track's first bar."""
    count = len(pieces)
    filled = np.zeros((count, num_tracks, num_bars), bool)
    filled[:, min(1, num_tracks - 1), 0] = infill
    return plain_windows(
        piece=pieces,
        start_bar=np.full(count, start_bar),
        num_bars=np.full(count, num_bars),
        tracks=np.tile(np.arange(num_tracks), (count, 1)),
        infill=filled,
    )
