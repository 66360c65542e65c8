"""An encoder of a few lines, and a piece for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.encoding.window_encoder import WindowEncoder
from midigpt_core.errors import EncodingError
from midigpt_core.records import Vocabulary, WindowBatch
from midigpt_core.score import Score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from midigpt_core.records import BoolArray, Int32Array

START = 128


class PitchEncoder(WindowEncoder):
    """The pitches of a window; a second start token, then the pitches of bars to fill in."""

    @property
    def vocabulary(self) -> Vocabulary:
        size = START + 1
        return Vocabulary(size=size, type_names=("Pitch",), type_of=np.zeros(size, np.uint8), value_of=np.arange(size))

    @property
    def provides(self) -> frozenset[str]:
        return frozenset({"infill"})

    def to_config(self) -> dict[str, Any]:
        return {}

    def accepts_signatures(self, numerators: Int32Array, denominators: Int32Array) -> BoolArray:
        return numerators != 5

    def encode_window(self, score: Score, window: WindowBatch, index: int) -> tuple[Sequence[int], int]:
        if any(track.program == 127 for track in score.tracks):
            raise EncodingError("no token for program 127")
        context = [START, *score.columns.note_pitch.tolist()]
        if not window.infill[index].any():
            return context, 0
        return [*context, START], len(context)

    def decode(self, tokens: Int32Array) -> Score:
        raise NotImplementedError


def piece(signature: int = 4, program: int = 0) -> Score:
    melodic = [[bar, 0, 480, 60 + bar, 100, 0] for bar in range(4)]
    drums = [[bar, 0, 480, 36 + bar, 100, 0] for bar in range(0, 4, 2)]
    tracks = [
        {"program": program, "drum": False, "notes": melodic},
        {"program": 0, "drum": True, "notes": drums},
    ]
    bars = [[4, 4, 4.0], [4, 4, 4.0], [signature, 4, float(signature)], [4, 4, 4.0]]
    return Score.from_dict({"resolution": 480, "tempo": 500000, "bars": bars, "tracks": tracks})
