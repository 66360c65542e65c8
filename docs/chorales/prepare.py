"""Writes Bach's four-part chorales as MIDI files, from the corpus that the package music21 contains.

    python docs/chorales/prepare.py FOLDER

FOLDER/train gets nine tenths of them and FOLDER/held-out every tenth. The voices are four wind instruments, a
track each, so that the instrument tells them apart. Needs ``music21`` and nothing of this project. SOURCES.md says
where the music comes from.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from music21 import corpus, instrument, meter, stream, tempo
from music21.converter import ConverterException

VOICES = (instrument.Flute, instrument.Oboe, instrument.Clarinet, instrument.Bassoon)
BEATS_PER_MINUTE = 76
HELD_OUT_EVERY = 10
MUSICXML = {".mxl", ".xml"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what it contains is replaced")
    folder: Path = parser.parse_args().folder
    for part in ("train", "held-out"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    count, others = 0, 0
    for path in sorted(Path(path) for path in corpus.getComposer("bach")):
        if path.suffix not in MUSICXML:
            continue
        score = parsed(path)
        if score is None or len(score.parts) != len(VOICES):
            others += 1
            continue
        part = "held-out" if count % HELD_OUT_EVERY == HELD_OUT_EVERY - 1 else "train"
        winds(score).write("midi", folder / part / f"{path.stem}.mid")
        count += 1
    print(f"{count} chorales in {folder}; {others} pieces of the corpus do not have four parts.")


def parsed(path: Path) -> stream.Score | None:
    try:
        return corpus.parse(path)
    except ConverterException as error:
        print(f"{path}: {error}", file=sys.stderr)
        return None


def winds(score: stream.Score) -> stream.Score:
    """The voices of ``score`` on four wind instruments, with bar lines where the score has them."""
    upbeat = missing_before_upbeat(score.parts.first())
    result = stream.Score()
    for voice, make in zip(score.parts, VOICES, strict=True):
        track = stream.Part([make()])
        notes = voice.stripTies().flatten()
        for signature in notes.getElementsByClass([meter.TimeSignature, "KeySignature"]):
            # Those of the start stand before the rest that fills up the first bar.
            track.insert(signature.offset + upbeat if signature.offset else 0, signature)
        for note in notes.notes:
            note.lyrics = []
            track.insert(note.offset + upbeat, note)
        result.insert(0, track)
    result.parts.first().insert(0, tempo.MetronomeMark(number=BEATS_PER_MINUTE))
    return result


def missing_before_upbeat(voice: stream.Part) -> float:
    """By how many quarters the first measure is shorter than its bar; 0 unless the piece starts with an upbeat."""
    measure = voice.getElementsByClass(stream.Measure).first()
    signature = voice.flatten().getElementsByClass(meter.TimeSignature).first()
    if measure is None or signature is None:
        return 0.0
    return max(0.0, float(signature.barDuration.quarterLength - measure.duration.quarterLength))


if __name__ == "__main__":
    main()
