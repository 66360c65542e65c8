"""Scores in MusicXML and ABC. music21 reads them and turns them into MIDI files in memory."""

import hashlib
import threading
from pathlib import Path
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

import attrs
import music21
import numpy as np
import pyarrow as pa
from music21.exceptions21 import Music21Exception
from music21.midi.translate import streamToMidiFile

from midigpt_core.contracts import RowBatch
from midigpt_core.errors import DataError

SUFFIXES = (".musicxml", ".mxl", ".abc")
#: Files of a shard at most. music21 takes a second for a long score.
FILES = 64
#: What music21 raises for a file that it does not understand, depending on the code that meets it.
STRANGE = (Music21Exception, ParseError, BadZipFile, AttributeError, LookupError, TypeError, ValueError)
#: Why a row is dropped.
UNREADABLE = "unreadable_notation"
#: music21 keeps state of its own, and shards are read in several threads.
_music21 = threading.Lock()


@attrs.frozen
class Scores:
    """Some files of a folder; a tune of an ABC file is a row of its own."""

    files: tuple[Path, ...]
    hash_file: object

    @property
    def name(self):
        more = f" and {len(self.files) - 1} more" if len(self.files) > 1 else ""
        return f"{self.files[0]}{more}"

    def num_rows(self):
        """Only reading tells how many tunes an ABC file has."""

    def fingerprint(self):
        # Another version of music21 can write other notes.
        seen = hashlib.sha256(music21.__version__.encode())
        for file in self.files:
            seen.update(f"{file.name} {self.hash_file(file)} ".encode())
        return seen.hexdigest()

    def batches(self):
        first = 0
        for file in self.files:
            tunes = list(self._tunes(file))
            yield _batch(first, tunes)
            first += len(tunes)

    def _tunes(self, file):
        """Name and MIDI file of each tune in a file, None for a tune that cannot be read."""
        with _music21:
            parsed = _or_none(lambda: music21.converter.parse(file, forceSource=True))
            scores = list(parsed.scores) if isinstance(parsed, music21.stream.Opus) else [parsed]
            for number, score in enumerate(scores):
                name = file.name if len(scores) == 1 else f"{file.name}, tune {number}"
                yield name, None if score is None else _or_none(lambda score=score: streamToMidiFile(score).writestr())


def _or_none(read):
    """The result, or None if music21 cannot read what it meets."""
    try:
        return read()
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}). Check the file.") from error
    except STRANGE:
        return None


def _batch(first, tunes):
    rows = [(row, name, midi) for row, (name, midi) in enumerate(tunes, first)]
    kept = [(row, name, midi) for row, name, midi in rows if midi is not None]
    lost = [(row, name) for row, name, midi in rows if midi is None]
    return RowBatch(
        row=np.array([row for row, _, _ in kept], np.int64),
        ids=pa.array([name for _, name, _ in kept], pa.string()),
        midi=pa.array([midi for _, _, midi in kept], pa.large_binary()),
        dropped={UNREADABLE: len(lost)} if lost else {},
        dropped_rows={UNREADABLE: lost[:3]} if lost else {},
    )


@attrs.frozen
class Source:
    context: object

    def shards(self):
        found = []
        for path in map(Path, self.context.paths):
            files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
            if not files:
                raise DataError(f"{path}: has no scores. Name files, or folders with {', '.join(SUFFIXES)} files.")
            found += [
                Scores(tuple(files[first : first + FILES]), self.context.hash_file)
                for first in range(0, len(files), FILES)
            ]
        return found


def build(options, context):
    return Source(context)
