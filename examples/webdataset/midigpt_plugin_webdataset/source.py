"""Archives in the layout of WebDataset: files of one sample follow one another and differ in their endings."""

import itertools
import json
import tarfile
from pathlib import Path, PurePosixPath

import attrs
import numpy as np
import pyarrow as pa

from midigpt_core.contracts import RowBatch
from midigpt_core.errors import DataError

#: Larger members are not music; they are dropped and counted.
MOST_BYTES = 16 << 20
#: Samples of a batch.
ROWS = 256


@attrs.frozen
class Options:
    #: Ending of the MIDI file of a sample.
    midi: str = "mid"
    #: Key of KEY.json that names the styles of a piece, a text or a list of texts. Empty: none.
    genre: str = "genre"


@attrs.frozen
class Sample:
    key: str
    midi: bytes | None
    genre: str | None
    #: Why the sample is dropped, or empty.
    dropped: str = ""


@attrs.frozen
class Archive:
    """One archive, with a sample per row. It is read from front to back and never extracted."""

    path: Path
    options: Options
    hash_file: object

    @property
    def name(self):
        return str(self.path)

    def num_rows(self):
        """Only a whole reading tells."""

    def fingerprint(self):
        return self.hash_file(self.path)

    def batches(self):
        try:
            # "r|*": as a stream, compressed or not.
            with tarfile.open(self.path, "r|*") as archive:
                numbered = enumerate(self._samples(archive))
                while rows := list(itertools.islice(numbered, ROWS)):
                    yield _batch(rows)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise DataError(f"{self.path}: cannot be read as a tar archive ({error}). Fetch it again.") from error

    def _samples(self, archive):
        files = (member for member in archive if member.isfile())
        for key, members in itertools.groupby(files, lambda member: member.name.partition(".")[0]):
            found = {}
            for member in members:
                ending = PurePosixPath(member.name).name.partition(".")[2]
                if ending in (self.options.midi, "json"):
                    found[ending] = archive.extractfile(member).read() if member.size <= MOST_BYTES else None
            if None in found.values():
                yield Sample(key, None, None, "too_large")
                continue
            try:
                genre = self._genre(found.get("json"))
            except ValueError:
                yield Sample(key, None, None, "wrong_json")
                continue
            yield Sample(key, found.get(self.options.midi), genre)

    def _genre(self, text):
        facts = json.loads(text) if text is not None and self.options.genre else {}
        if not isinstance(facts, dict):
            raise ValueError("is not a mapping")
        genre = facts.get(self.options.genre)
        return ",".join(map(str, genre)) if isinstance(genre, list) else genre if isinstance(genre, str) else None


def _batch(rows):
    kept = [(number, sample) for number, sample in rows if not sample.dropped]
    dropped, examples = {}, {}
    for number, sample in rows:
        if sample.dropped:
            dropped[sample.dropped] = dropped.get(sample.dropped, 0) + 1
            examples.setdefault(sample.dropped, [(number, sample.key)])
    return RowBatch(
        row=np.array([number for number, _ in kept], np.int64),
        ids=pa.array([sample.key for _, sample in kept], pa.string()),
        midi=pa.array([sample.midi for _, sample in kept], pa.large_binary()),
        genre=pa.array([sample.genre for _, sample in kept], pa.string()),
        dropped=dropped,
        dropped_rows=examples,
    )


@attrs.frozen
class Archives:
    options: Options
    context: object

    def shards(self):
        found = []
        for path in map(Path, self.context.paths):
            files = [path] if path.is_file() else sorted(path.glob("*.tar*"))
            if not files:
                raise DataError(f"{path}: there is no archive. Name .tar files, or folders of them.")
            found += files
        return [Archive(path, self.options, self.context.hash_file) for path in found]


def build(options, context):
    return Archives(options, context)
