"""Compose small multitrack pieces and write them as GigaMIDI-shaped parquet: the data set of ``make run``.

Every piece is a function of the seed and its number: a key, a chord progression, and up to four tracks (melody, chords,
bass, drums) that follow it. There is enough in them to learn (harmony, rhythm, form) and nothing to download.
A held-out piece with the most tracks is also written as ``song.mid``, for a trained model to work on.

    python docs/demo/compose.py OUT_DIR [--train 2000] [--valid 30] [--seed 1]
"""

from __future__ import annotations

import argparse
import hashlib
import random
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from midigpt_core.score import Score

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

QUARTER = 480
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
#: Degrees of the scale on which the chords of a four-bar phrase stand.
PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 0, 4), (5, 3, 0, 4), (0, 3, 1, 4), (0, 2, 3, 4))
#: Melody rhythms of one quarter note, as fractions of it.
RHYTHMS = ((1.0,), (0.5, 0.5), (0.5, 0.25, 0.25), (0.25, 0.25, 0.5), (0.75, 0.25))
LEADS, PADS, BASSES = (0, 11, 24, 40, 56, 65, 73), (4, 16, 48, 52, 89), (32, 33, 34, 38)
KICK, SNARE, TOM, HAT, CRASH = 36, 38, 45, 42, 49
#: Voices of a chord in degrees of the scale, the lowest first: triads over three octaves.
VOICES = (0, 2, 4, 7, 9, 11, 14, 16, 18, 21)
#: Drum notes in a bar, least and most: one band per level of the encoder's note_density for drums.
BUSYNESS = ((2, 2), (3, 3), (4, 5), (6, 8), (9, 10), (11, 12), (13, 15), (16, 18), (19, 24), (27, 27))

#: Numbers of pieces that are never trained on: the validation split are the first of them.
HELD_OUT = range(300, 1000)

Note = list[int]


class Piece:
    """One composed piece: what all its tracks agree on."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.beats = rng.choice((4, 4, 4, 3))
        self.bars = rng.choice((8, 12, 16))
        self.tempo = 60_000_000 // rng.randrange(84, 150)
        self.scale = rng.choice((MAJOR, MINOR))
        self.tonic = rng.randrange(12)
        self.progression = rng.choice(PROGRESSIONS)

    def degree(self, bar: int) -> int:
        return self.progression[bar % len(self.progression)]

    def pitch(self, octave: int, degree: int) -> int:
        """MIDI pitch of a scale degree; degrees beyond the octave go on upwards."""
        shift, step = divmod(degree, len(self.scale))
        return 12 * (octave + 1 + shift) + self.tonic + self.scale[step]

    def melody(self) -> list[Note]:
        """Walks through the scale, lands on chord tones on the beat; the second phrase repeats the first's rhythm."""
        rng, notes = self.rng, []
        rhythm = [[rng.choice(RHYTHMS) for _ in range(self.beats)] for _ in range(4)]
        step = rng.randrange(7)
        for bar in range(self.bars):
            chord = {(self.degree(bar) + third) % 7 for third in (0, 2, 4)}
            onset = 0
            for beat in rhythm[bar % 4]:
                for index, length in enumerate(beat):
                    step = min(max(step + rng.choice((-2, -1, -1, 0, 1, 1, 2)), 0), 10)
                    if index == 0 and step % 7 not in chord:
                        step += 1 if (step + 1) % 7 in chord else -1
                    ticks = int(length * QUARTER)
                    notes.append([bar, onset, ticks, self.pitch(5, step), rng.randrange(84, 108), 0])
                    onset += ticks
        return notes

    def chords(self) -> list[Note]:
        """As many voices throughout, one to ten: what the controls of polyphony are to learn."""
        voices = VOICES[: self.rng.randint(1, len(VOICES))]
        held = self.rng.random() < 0.5 or len(voices) > 5
        hits = [(0, self.beats)] if held else [(beat, 1) for beat in range(self.beats)]
        octave = 4 if len(voices) <= 5 else 3
        return [
            [bar, beat * QUARTER, length * QUARTER, self.pitch(octave, self.degree(bar) + voice), 72, 0]
            for bar in range(self.bars)
            for beat, length in hits
            for voice in voices
        ]

    def bass(self) -> list[Note]:
        walking = self.rng.random() < 0.5
        steps = (0, 2, 4, 2) if walking else (0, 0, 4, 0)
        return [
            [bar, beat * QUARTER, QUARTER, self.pitch(2, self.degree(bar) + steps[beat % 4]), 92, 0]
            for bar in range(self.bars)
            for beat in range(self.beats)
        ]

    def drums(self) -> list[Note]:
        """One pattern in every bar, from two notes of it to a roll: what the control note_density is to learn."""
        low, high = self.rng.choice(BUSYNESS)
        pattern = self.pattern()[: self.rng.randint(low, high)]
        notes = []
        for bar in range(self.bars):
            for sixteenth, drum in sorted(pattern):
                opening = bar % 4 == 0 and sixteenth == 0 and drum == HAT
                velocity = 100 if drum != HAT else 84 if sixteenth % 4 == 0 else 70
                notes.append([bar, sixteenth * QUARTER // 4, 1, CRASH if opening else drum, velocity, 0])
        return notes

    def pattern(self) -> list[tuple[int, int]]:
        """(sixteenth, drum) of a bar, the most important first: kick and snare, hats ever finer, fills."""
        beats = range(self.beats)
        layers = (
            [(4 * beat, SNARE if beat % 2 else KICK) for beat in beats],
            [(4 * beat, HAT) for beat in beats],
            [(4 * beat + 2, HAT) for beat in beats],
            [(4 * beat + odd, HAT) for odd in (1, 3) for beat in beats],
            [(4 * beat + part, drum) for part, drum in ((2, KICK), (3, SNARE), (1, TOM), (2, TOM)) for beat in beats],
        )
        return [hit for layer in layers for hit in layer]

    def score(self) -> Score:
        rng = self.rng
        tracks = [
            {"program": rng.choice(LEADS), "drum": False, "notes": self.melody()},
            {"program": rng.choice(PADS), "drum": False, "notes": self.chords()},
            {"program": rng.choice(BASSES), "drum": False, "notes": self.bass()},
            {"program": 0, "drum": True, "notes": self.drums()},
        ]
        bars = [[self.beats, 4, float(self.beats)]] * self.bars
        kept = tracks[: rng.choice((3, 4, 4, 4))]
        return Score.from_dict({"resolution": QUARTER, "tempo": self.tempo, "bars": bars, "tracks": kept})


def compose(seed: int, number: int) -> Score:
    """Piece ``number`` of the data set ``seed``."""
    return Piece(random.Random(f"{seed}/{number}")).score()


def splits(train: int, valid: int) -> dict[str, Sequence[int]]:
    """The numbers of the pieces of each split, ``train`` and ``valid`` many."""
    trained_on = (number for number in count() if number not in HELD_OUT)
    return {"train": list(islice(trained_on, train)), "validation": HELD_OUT[:valid]}


def write_parquet(path: Path, scores: Iterable[Score]) -> None:
    """One GigaMIDI-shaped shard: the columns that the ``gigamidi`` source reads."""
    rows = []
    for score in scores:
        music = score.to_bytes()
        rows.append(
            {
                "md5": hashlib.md5(music, usedforsecurity=False).hexdigest(),
                "music": music,
                "num_tracks": len(score.tracks),
                "total_notes": int(score.columns.note_offsets[-1]),
                "TPQN": QUARTER,
                "NOMML": [-1] * len(score.tracks),
                "music_style_scraped": None,
            }
        )
    schema = pa.schema(
        [
            ("md5", pa.string()),
            ("music", pa.binary()),
            ("num_tracks", pa.int64()),
            ("total_notes", pa.int64()),
            ("TPQN", pa.int64()),
            ("NOMML", pa.list_(pa.int64())),
            ("music_style_scraped", pa.string()),
        ]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=2000, help="pieces in the train split")
    parser.add_argument("--valid", type=int, default=30, help="pieces in the validation split")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    numbers = splits(options.train, options.valid)
    for split, pieces in numbers.items():
        write_parquet(options.out / split / "00000.parquet", (compose(options.seed, number) for number in pieces))
    held_out = (compose(options.seed, number) for number in numbers["validation"])
    max(held_out, key=lambda score: len(score.tracks)).to_midi(options.out / "song.mid")


if __name__ == "__main__":
    main()
