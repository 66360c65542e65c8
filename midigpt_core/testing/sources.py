"""Checks for data sources, on the author's paths or on a folder of ``.mid`` files."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from midigpt_core.contracts import SourceContext
from midigpt_core.errors import DataError
from midigpt_core.testing import music

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from midigpt_core.contracts import Source, SourceShard
    from midigpt_core.testing.general import Subject


def check_shards_are_stable(subject: Subject) -> None:
    """Two builds get the same shards with the same fingerprints in the same order."""
    with _paths(subject) as paths:
        first, second = (_shards(subject, paths) for _ in range(2))
        assert first, f"no shards in {', '.join(paths)}. {_advice(subject)}"
        assert [shard.name for shard in first] == [shard.name for shard in second]
        assert [shard.fingerprint() for shard in first] == [shard.fingerprint() for shard in second]
        names = [shard.name for shard in first]
        assert len(set(names)) == len(names), "two shards have one name"


def check_every_row_is_accounted_for(subject: Subject) -> None:
    with _paths(subject) as paths:
        for shard in _shards(subject, paths):
            seen, dropped, last = 0, 0, -1
            for batch in shard.batches():
                rows = batch.row.tolist()
                assert rows == sorted(set(rows)), "row numbers do not ascend"
                assert not rows or rows[0] > last, "row numbers do not ascend from batch to batch"
                last = rows[-1] if rows else last
                seen += len(rows)
                dropped += sum(batch.dropped.values())
            assert seen > 0, f"{shard.name} has no rows"
            assert shard.num_rows() in (None, seen + dropped), "num_rows() is not the rows given plus those dropped"


def check_batches_have_the_right_columns(subject: Subject) -> None:
    with _paths(subject) as paths:
        for shard in _shards(subject, paths):
            for batch in shard.batches():
                assert pa.types.is_large_binary(batch.midi.type), f"midi is {batch.midi.type}, not large_binary"
                assert pa.types.is_string(batch.ids.type) or pa.types.is_large_string(batch.ids.type)
                columns = [batch.ids, batch.midi, *(c for c in (batch.genre, batch.nomml) if c is not None)]
                assert {len(column) for column in columns} == {len(batch.row)}, "columns differ in length"


def check_reading_again_gives_the_same(subject: Subject) -> None:
    with _paths(subject) as paths:
        for shard in _shards(subject, paths):
            once, twice = ([batch.midi.to_pylist() for batch in shard.batches()] for _ in range(2))
            assert once == twice


def check_shards_can_be_sent_to_another_process(subject: Subject) -> None:
    """As `midigpt preprocess --engine` does."""
    with _paths(subject) as paths:
        for shard in _shards(subject, paths):
            fingerprint = shard.fingerprint()
            sent: SourceShard = pickle.loads(pickle.dumps(shard))
            assert (sent.name, sent.fingerprint()) == (shard.name, fingerprint)
            once, twice = ([batch.midi.to_pylist() for batch in found.batches()] for found in (shard, sent))
            assert once == twice


def check_a_path_that_leads_nowhere_is_refused(subject: Subject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        missing = str(Path(folder) / "nothing" / "here")
        try:
            _shards(subject, (missing,))
        except DataError as error:
            assert missing in str(error), f"the error does not name the path: {error}"
        else:
            raise AssertionError("a path that leads nowhere was accepted")


def _shards(subject: Subject, paths: Sequence[str]) -> Sequence[SourceShard]:
    source: Source = subject.build(SourceContext(paths=tuple(paths)))
    return source.shards()


@contextlib.contextmanager
def _paths(subject: Subject) -> Iterator[tuple[str, ...]]:
    if subject.paths:
        yield subject.paths
        return
    with tempfile.TemporaryDirectory() as folder:
        for number, score in enumerate(music.scores()):
            score.to_midi(Path(folder) / f"piece{number}.mid")
        try:
            yield (folder,)
        except DataError as error:
            raise AssertionError(f"a folder of .mid files cannot be read: {error} {_advice(subject)}") from error


def _advice(subject: Subject) -> str:
    name = subject.spec.name
    return (
        f"Name paths that the source can read: paths={{{name!r}: [PATH]}} in a test, --paths {name}=PATH in a command."
    )
