"""Writes the pieces of one style as MIDI files, and other pieces to train a base on that has none of that style.

    python docs/chorales/styles.py FOLDER --style jigs

FOLDER/train and FOLDER/held-out get the style, FOLDER/base/train and FOLDER/base/held-out the rest: fiddle tunes of two
collections, chorales, and polyphony of the fourteenth to the seventeenth century, from the corpus that the package
music21 contains. Every tenth piece is held out. A voice is a track, and its place in the score decides its instrument.
Needs ``music21`` and nothing of this project. SOURCES.md says where the music comes from.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from music21 import corpus, instrument, meter, stream, tempo
from prepare import HELD_OUT_EVERY, missing_before_upbeat, parsed

if TYPE_CHECKING:
    from collections.abc import Iterator

COLLECTIONS = ("oneills1850", "ryansMammoth", "bach", "monteverdi", "palestrina", "trecento")
#: The collections of fiddle tunes: one voice.
TUNES = ("oneills1850", "ryansMammoth")
#: One file in so many, so that most of the base are tunes.
EVERY = {"palestrina": 10, "monteverdi": 2, "trecento": 2}
COMPOUND = {"6/8", "9/8", "12/8", "6/4", "9/4"}
VOICES = (instrument.Flute, instrument.Oboe, instrument.Clarinet, instrument.Bassoon, instrument.Recorder)
BEATS_PER_MINUTE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="what it contains is replaced")
    parser.add_argument("--style", choices=("jigs", "chorales"), required=True)
    asked = parser.parse_args()
    folders = {"style": asked.folder, "base": asked.folder / "base"}
    for folder in folders.values():
        for part in ("train", "held-out"):
            shutil.rmtree(folder / part, ignore_errors=True)
            (folder / part).mkdir(parents=True)
    with ProcessPoolExecutor() as workers:
        write = partial(written, style=asked.style, folders=folders)
        counts = sum(workers.map(write, COLLECTIONS), Counter())
    print(f"{counts['style']} {asked.style} and {counts['base']} other pieces; {counts['neither']} were left out.")


def written(collection: str, style: str, folders: dict[str, Path]) -> Counter[str]:
    """Write the pieces of a collection; how many are of the style, of the base, and of neither."""
    counts: Counter[str] = Counter()
    for name, score in scores(collection):
        kind = (jig if style == "jigs" else chorale)(collection, name, score)
        if kind != "neither":
            held_out = counts[kind] % HELD_OUT_EVERY == HELD_OUT_EVERY - 1
            tracks(score).write(
                "midi", folders[kind] / ("held-out" if held_out else "train") / f"{collection}-{name}.mid"
            )
        counts[kind] += 1
    return counts


def scores(collection: str) -> Iterator[tuple[str, stream.Score]]:
    """Every score of a collection that has voices for the instruments, with a name; a file may have several."""
    files = sorted(Path(path) for path in corpus.getComposer(collection))
    for path in files[:: EVERY.get(collection, 1)]:
        found = parsed(path)
        several = found.scores if isinstance(found, stream.Opus) else [found] if found is not None else []
        for index, score in enumerate(several):
            if 1 <= len(score.parts) <= len(VOICES):
                yield f"{path.stem}-{index}", score
            else:
                print(f"{path.name}: {len(score.parts)} voices", file=sys.stderr)


def jig(collection: str, name: str, score: stream.Score) -> str:
    """A jig is a tune in 6/8 that Ryan's collection calls one; the base has no tune in a compound metre."""
    if collection not in TUNES:
        return "base"
    metres = {found.ratioString for found in score.parts.first().flatten().getElementsByClass(meter.TimeSignature)}
    called = "jig" in name.lower()
    if called and collection == "ryansMammoth" and metres == {"6/8"}:
        return "style"
    return "neither" if called or metres & COMPOUND else "base"


def chorale(collection: str, name: str, score: stream.Score) -> str:
    """Everything of Bach's in four voices; the base has nothing of his."""
    if collection != "bach":
        return "base"
    return "style" if len(score.parts) == 4 else "neither"


def tracks(score: stream.Score) -> stream.Score:
    """The voices of ``score`` on instruments of their own, with bar lines where the score has them."""
    upbeat = missing_before_upbeat(score.parts.first())
    result = stream.Score()
    for voice, make in zip(score.parts, VOICES, strict=False):
        track = stream.Part([make()])
        notes = voice.stripTies().flatten()
        for signature in notes.getElementsByClass(meter.TimeSignature):
            # One object may be at several places of a tune.
            at = signature.offset + upbeat if signature.offset else 0
            track.insert(at, meter.TimeSignature(signature.ratioString))
        for note in notes.notes:
            note.lyrics = []
            track.insert(note.offset + upbeat, note)
        result.insert(0, track)
    result.parts.first().insert(0, tempo.MetronomeMark(number=BEATS_PER_MINUTE))
    return result


if __name__ == "__main__":
    main()
