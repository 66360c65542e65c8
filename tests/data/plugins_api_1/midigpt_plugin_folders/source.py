"""Folders of MIDI files."""

import hashlib
from pathlib import Path

import attrs
import numpy as np
import pyarrow as pa

from midigpt_core.contracts import RowBatch
from midigpt_core.errors import DataError


@attrs.frozen
class Options:
    #: Files to read, as a glob below each folder.
    pattern: str = "**/*.mid"


class Folder:
    """One folder: a shard, with a file per row."""

    def __init__(self, path, pattern, hash_file):
        self.path = path
        self.files = sorted(path.glob(pattern))
        self.hash_file = hash_file

    @property
    def name(self):
        return str(self.path)

    def num_rows(self):
        return len(self.files)

    def fingerprint(self):
        hashes = "".join([f"{file.name} {self.hash_file(file)} " for file in self.files])
        return hashlib.sha256(hashes.encode()).hexdigest()

    def batches(self):
        """A few hundred rows at a time, so that memory is bounded."""
        for first in range(0, len(self.files), 256):
            files = self.files[first : first + 256]
            yield RowBatch(
                row=np.arange(first, first + len(files), dtype=np.int64),
                ids=pa.array([file.name for file in files]),
                midi=pa.array([file.read_bytes() for file in files], pa.large_binary()),
            )


class Source:
    def __init__(self, options, context):
        self.options = options
        self.context = context

    def shards(self):
        for path in self.context.paths:
            if not Path(path).is_dir():
                raise DataError(f"{path}: is not a folder. Name a folder of MIDI files.")
        return [Folder(Path(path), self.options.pattern, self.context.hash_file) for path in self.context.paths]


def build(options, context):
    return Source(options, context)
