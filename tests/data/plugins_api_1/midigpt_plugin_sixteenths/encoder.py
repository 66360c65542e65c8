"""Bars of sixteenths: a track, its bars, and for every note its onset, pitch and duration."""

import attrs
import numpy as np

from midigpt_core.encoding.window_encoder import WindowEncoder
from midigpt_core.errors import EncodingError
from midigpt_core.records import Vocabulary
from midigpt_core.score import Score

#: Token types with their sizes. Track 128 is the drum track; Bar and Duration count from 1.
SIZES = {"Track": 129, "Bar": 12, "Onset": 48, "Pitch": 128, "Duration": 64}
STARTS = dict(zip(SIZES, np.cumsum([0, *SIZES.values()]).tolist(), strict=False))


@attrs.frozen
class Options:
    #: Longest note written, in sixteenths.
    longest: int = attrs.field(default=16, validator=[attrs.validators.ge(1), attrs.validators.le(64)])


class Encoder(WindowEncoder):
    def __init__(self, options):
        self.options = options

    @property
    def vocabulary(self):
        return Vocabulary(
            size=sum(SIZES.values()),
            type_names=tuple(SIZES),
            type_of=np.repeat(np.arange(len(SIZES), dtype=np.uint8), list(SIZES.values())),
            value_of=np.concatenate([np.arange(size, dtype=np.int32) for size in SIZES.values()]),
        )

    @property
    def provides(self):
        return frozenset()

    def to_config(self):
        return attrs.asdict(self.options)

    def accepts_signatures(self, numerators, denominators):
        return (denominators == 4) & (numerators <= SIZES["Bar"])

    def encode_window(self, score, window, index):
        step = score.resolution / 4
        tokens = []
        for track in score.tracks:
            tokens.append(STARTS["Track"] + (128 if track.is_drum else track.program))
            for bar in track.bars:
                tokens.append(STARTS["Bar"] + bar.numerator - 1)
                for onset, duration, pitch, _velocity, _microtiming in bar.notes.rows():
                    length = min(max(round(duration / step), 1), self.options.longest)
                    tokens.append(STARTS["Onset"] + min(int(onset / step), 4 * bar.numerator - 1))
                    tokens.append(STARTS["Pitch"] + pitch)
                    tokens.append(STARTS["Duration"] + length - 1)
        return tokens, 0

    def decode(self, tokens):
        tracks, onset, pitch = [], 0, 60
        for token in np.asarray(tokens).tolist():
            kind = next((name for name, size in SIZES.items() if 0 <= token - STARTS[name] < size), None)
            if kind is None:
                raise EncodingError(f"token {token} is not of this encoder. Decode with the one that wrote it.")
            value = token - STARTS[kind]
            if kind == "Track":
                tracks.append({"program": value % 128, "drum": value == 128, "bars": [], "notes": []})
            elif kind == "Bar" and tracks:
                tracks[-1]["bars"].append([value + 1, 4, value + 1.0])
            elif kind == "Onset":
                onset = value
            elif kind == "Pitch":
                pitch = value
            elif tracks and tracks[-1]["bars"]:
                tracks[-1]["notes"].append([len(tracks[-1]["bars"]) - 1, onset, value + 1, pitch, 64, 0])
        return Score.from_dict({"resolution": 4, "tempo": 500_000, "bars": [], "tracks": tracks})


def build(options, context):
    return Encoder(options)
