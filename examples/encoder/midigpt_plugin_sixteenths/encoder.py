"""Bars of sixteenths: a track, its bars, and for every note its onset, pitch and duration."""

import attrs

from midigpt_core.encoding.token_grammar import END, TokenClass, TokenGrammar
from midigpt_core.encoding.vocabulary import vocabulary_of
from midigpt_core.encoding.window_encoder import WindowEncoder
from midigpt_core.score import Score

#: Token types with their sizes. Track 128 is the drum track; Bar and Duration count from 1. A bar to fill in has a
#: Hole; its notes are at the end of the document, between Fill and End. A track ends with End, too.
SIZES = {"Track": 129, "Bar": 12, "Onset": 48, "Pitch": 128, "Duration": 64, "Hole": 1, "Fill": 1, "End": 1}
TOKENS = [(kind, value) for kind, size in SIZES.items() for value in range(size)]
IDS = {token: number for number, token in enumerate(TOKENS)}

#: What a model may write in a bar: complete notes, in the order of their onsets, none of which is after the bar's end.
GRAMMAR = TokenGrammar(
    track="Track",
    bar="Bar",
    fill="Fill",
    first=("onset", END),
    classes={
        "onset": TokenClass(
            "Onset",
            then="pitch",
            part="onset",
            ascends="bar",
            repeats=True,
            below=("Bar", {value: 4 * (value + 1) for value in range(SIZES["Bar"])}),
        ),
        "pitch": TokenClass("Pitch", then="duration", part="note"),
        "duration": TokenClass(
            "Duration",
            then=("onset", END),
            part="length",
            amounts={value: value + 1 for value in range(SIZES["Duration"])},
        ),
    },
)


@attrs.frozen
class Options:
    #: Longest note written, in sixteenths.
    longest: int = attrs.field(default=16, validator=[attrs.validators.ge(1), attrs.validators.le(64)])


class Encoder(WindowEncoder):
    vocabulary = vocabulary_of(TOKENS)
    provides = frozenset({"infill"})
    token_grammar = GRAMMAR

    def __init__(self, options):
        self.options = options

    def to_config(self):
        return attrs.asdict(self.options)

    def accepts_signatures(self, numerators, denominators):
        return (denominators == 4) & (numerators <= SIZES["Bar"])

    def encode_window(self, score, window, index):
        tokens, filled = [], []
        for number, track in enumerate(score.tracks):
            tokens.append(("Track", 128 if track.is_drum else track.program))
            for place, bar in enumerate(track.bars):
                tokens.append(("Bar", bar.numerator - 1))
                if window.infill[index, number, place]:
                    tokens.append(("Hole", 0))
                    filled += [("Fill", 0), *self.notes(bar, score.resolution), ("End", 0)]
                else:
                    tokens += self.notes(bar, score.resolution)
            tokens.append(("End", 0))
        # The model learns to write all tokens, or the bars to fill in.
        return [IDS[token] for token in tokens + filled], len(tokens) if filled else 0

    def notes(self, bar, resolution):
        tokens, step = [], resolution / 4
        for onset, duration, pitch, _velocity, _microtiming in bar.notes.rows():
            length = min(max(round(duration / step), 1), self.options.longest)
            last = 4 * bar.numerator - 1
            tokens += [("Onset", min(int(onset / step), last)), ("Pitch", pitch), ("Duration", length - 1)]
        return tokens

    def decode(self, tokens):
        tracks, holes, place, onset, pitch = [], [], None, 0, 60
        for kind, value in self.typed(tokens):
            if kind == "Track":
                tracks.append({"program": value % 128, "drum": value == 128, "bars": [], "notes": []})
            elif kind == "Bar" and tracks:
                tracks[-1]["bars"].append([value + 1, 4, value + 1.0])
                place = (tracks[-1]["notes"], len(tracks[-1]["bars"]) - 1)
            elif kind == "Hole":
                holes.append(place)
            elif kind == "Fill" and holes:
                place = holes.pop(0)
            elif kind == "Onset":
                onset = value
            elif kind == "Pitch":
                pitch = value
            elif kind == "Duration" and place:
                notes, bar = place
                notes.append([bar, onset, value + 1, pitch, 64, 0])
        return Score.from_dict({"resolution": 4, "tempo": 500_000, "bars": [], "tracks": tracks})


def build(options, context):
    return Encoder(options)
