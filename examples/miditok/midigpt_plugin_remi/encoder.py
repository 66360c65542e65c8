"""MidiTok's REMI without BPE: tracks one after another, then a block for each bar to fill in."""

import attrs
import numpy as np
from miditok import REMI, TokenizerConfig, TokSequence
from symusic import Note, TimeSignature, Track
from symusic import Score as Midi

from midigpt_core.encoding.token_grammar import END, TokenClass, TokenGrammar
from midigpt_core.encoding.vocabulary import vocabulary_of
from midigpt_core.encoding.window_encoder import WindowEncoder
from midigpt_core.score import Score

#: Positions of a beat, and ticks of a quarter note in the music that MidiTok gets.
PER_BEAT, QUARTER = 8, 480
#: Tokens of ours: the end of a track, a bar to fill in, and the two ends of its block.
SPECIAL = ["EOS", "FILL", "START", "STOP"]


@attrs.frozen
class Options:
    #: Levels of velocity.
    velocities: int = attrs.field(default=8, validator=[attrs.validators.ge(1), attrs.validators.le(127)])


class Encoder(WindowEncoder):
    provides = frozenset({"infill"})
    vocabulary = time_signatures = None  # made below

    def __init__(self, options):
        self.options = options
        self.remi = REMI(
            TokenizerConfig(
                pitch_range=(0, 127), beat_res={(0, 4): PER_BEAT, (4, 12): 4}, num_velocities=options.velocities,
                special_tokens=SPECIAL, use_time_signatures=True, use_programs=True, program_changes=True,
                one_token_stream_for_programs=False, use_pitchdrum_tokens=False,
            )
        )  # fmt: skip
        self.time_signatures = tuple(self.remi.time_signatures)
        self.ids = self.remi.vocab
        #: The type and word of each token, such as ("Pitch", "60") or ("TimeSig", "3/8").
        self.words = [name.split("_") for name in sorted(self.ids, key=self.ids.get)]
        # The value of a word that is no number is its token.
        numbers = [int(word) if word.lstrip("-").isdigit() else token for token, (_, word) in enumerate(self.words)]
        self.vocabulary = vocabulary_of([(kind, value) for (kind, _), value in zip(self.words, numbers, strict=True)])

    @property
    def token_grammar(self):
        signatures = [(token, word.split("/")) for token, (kind, word) in enumerate(self.words) if kind == "TimeSig"]
        durations = [(token, word.split(".")) for token, (kind, word) in enumerate(self.words) if kind == "Duration"]
        below = ("TimeSig", {token: PER_BEAT * int(beats) for token, (beats, _) in signatures})
        lengths = {token: PER_BEAT * int(b) + PER_BEAT * int(part) // int(of) for token, (b, part, of) in durations}
        return TokenGrammar(
            classes={
                "position": TokenClass("Position", then="pitch", part="onset", ascends="bar", below=below),
                "pitch": TokenClass("Pitch", then="velocity", part="note", ascends="position"),
                "velocity": TokenClass("Velocity", then="duration"),
                "duration": TokenClass("Duration", then=("position", "pitch", END), part="length", amounts=lengths),
            },
            first=("position", END), track="Program", bar="Bar", header="TimeSig", fill="START",
        )  # fmt: skip

    def to_config(self):
        return attrs.asdict(self.options)

    def encode_window(self, score, window, index):
        tokens, blocks = [], []
        for number, track in enumerate(score.tracks):
            tokens.append(self.ids[f"Program_{-1 if track.is_drum else track.program}"])
            for place, bar in enumerate(track.bars):
                tokens += [self.ids["Bar_None"], self.ids[f"TimeSig_{bar.numerator}/{bar.denominator}"]]
                notes = self._notes(bar, score.resolution)
                if window.infill[index, number, place]:
                    tokens.append(self.ids["FILL_None"])
                    blocks += [self.ids["START_None"], *notes, self.ids["STOP_None"]]
                else:
                    tokens += notes
            tokens.append(self.ids["EOS_None"])
        return tokens + blocks, len(tokens) if blocks else 0

    def _notes(self, bar, resolution):
        midi, track = Midi(QUARTER), Track()
        midi.time_signatures.append(TimeSignature(0, bar.numerator, bar.denominator))
        step = 4 * QUARTER / bar.denominator / PER_BEAT
        for onset, duration, pitch, velocity, _ in bar.notes.rows():
            # MidiTok would move a late onset into the next bar.
            position = min(round(onset * QUARTER / resolution / step), bar.numerator * PER_BEAT - 1)
            length = round(duration * QUARTER / resolution)
            track.notes.append(Note(round(position * step), max(length, 1), pitch, max(velocity, 1)))
        midi.tracks.append(track)
        # MidiTok begins with a program, the bar and its signature, and has no tokens for a track without notes.
        return self.remi.encode(midi)[0].ids[3:] if len(track.notes) else []

    def decode(self, tokens):
        tracks, bars, bar, holes, signature = [], [], [], [], []
        for token, (kind, value) in zip(np.asarray(tokens).tolist(), self.typed(tokens), strict=True):
            if kind == "Program":
                tracks.append({"program": max(value, 0), "drum": value < 0, "bars": [], "notes": []})
            elif kind == "Bar" and tracks:
                bar, signature = [token], [4, 4, 4.0]
                bars.append((tracks[-1]["notes"], len(tracks[-1]["bars"]), bar))
                tracks[-1]["bars"].append(signature)
            elif kind == "FILL":
                holes.append(bar)
            elif kind == "START" and holes:
                bar = holes.pop(0)
            elif kind not in SPECIAL:
                bar.append(token)
            if kind == "TimeSig":
                beats, unit = map(int, self.words[token][1].split("/"))
                signature[:] = beats, unit, 4 * beats / unit
        for notes, number, bar in bars:
            for track in self.remi.decode([TokSequence(ids=bar)], [(0, False)]).tracks:
                notes += [[number, one.time, one.duration, one.pitch, one.velocity, 0] for one in track.notes]
        return Score.from_dict({"resolution": self.remi.time_division, "tempo": 500_000, "bars": [], "tracks": tracks})


def build(options, context):
    return Encoder(options)
