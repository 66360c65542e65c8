"""Builds corpora on disk from a source's shards: existing ones are reused, missing ones are built, each on its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from attrs import Factory, frozen

from midigpt_core import files
from midigpt_core.contracts import SourceContext
from midigpt_core.cores import available_cores
from midigpt_core.corpus.cache import FileHashes, cache_root, explained, owned, shard_folder
from midigpt_core.corpus.format import DATA_NAME, SIDECAR_NAME, buffer_dtypes, read_sidecar
from midigpt_core.corpus.ingest import midi_buffers, to_pieces
from midigpt_core.corpus.isolation import (
    DEFAULT_MEMORY_BYTES,
    DEFAULT_PARSER,
    DEFAULT_TIMEOUT_S,
    IsolatedParser,
    ParserLimits,
)
from midigpt_core.corpus.status import in_order
from midigpt_core.corpus.tally import Tally, merge_examples
from midigpt_core.corpus.writer import ShardWriter
from midigpt_core.errors import ComponentError, CorpusError, DataError, MidigptError
from midigpt_core.plugins import build as build_component

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from pathlib import Path

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import RowBatch, Source, SourceShard
    from midigpt_core.corpus.format import Sidecar
    from midigpt_core.score.reading import ReadResult

# A file for each written column, the source, and the connections to the parser's process.
_FILES_A_SHARD = len(buffer_dtypes()) + 16

_T = TypeVar("_T")


@frozen
class BuildProgress:
    """Progress of a build. Shards that already existed count as done."""

    rows: int
    #: None if a source cannot tell without reading.
    total_rows: int | None
    shards: int
    total_shards: int
    #: Rate of the rows that this build has parsed since its start.
    rows_per_second: float


@frozen(kw_only=True)
class BuildReport:
    """Result of a build over all shards, found or built."""

    #: The data file of each source shard's corpus, in the source's order.
    shards: list[Path]
    #: Rows by reason; ``"kept"`` are those with music. They add up to all rows of the source.
    counts: dict[str, int]
    #: A few rows for each reason but ``"kept"``, each with its file.
    examples: dict[str, list[str]]
    #: Number of shards that this build parsed.
    built: int = 0
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def build(
    source: ComponentRef,
    paths: Sequence[str],
    *,
    cache: Path | None = None,
    workers: int | None = None,
    parser: str = DEFAULT_PARSER,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    verify: bool = False,
    progress: Callable[[BuildProgress], None] | None = None,
) -> BuildReport:
    """Build the corpora of all shards of a source; existing ones are not built again.

    ``workers`` shards are read at a time (default: one per available processor). ``verify`` hashes source files again
    even if path, size and time match the cache. ``progress`` is called from several threads, one call at a time.
    ``timeout_s`` and ``memory_bytes`` bound the parsing of a file (:class:`ParserLimits`). ``parser`` is a seam for
    tests.

    Raises :class:`DataError` if a shard cannot be read, :class:`midigpt_core.files.WriteError` if the cache cannot be
    written, :class:`ComponentError` for a bug in the source. Shards that are finished by then are kept.
    """
    started = time.monotonic()
    cache = cache or cache_root()
    shards = _open_source(source, paths, FileHashes(cache, verify=verify))
    cores = available_cores()
    active = max(1, min(workers or cores, len(shards)))
    files.allow_open(active * _FILES_A_SHARD)
    limits = ParserLimits(timeout_s, memory_bytes)
    parsers = _Parsers(parser, max(1, cores // active), limits)
    run = _Run(source, cache, parser, parsers, _Meter(shards, progress))
    with contextlib.closing(parsers), ThreadPoolExecutor(active, thread_name_prefix="corpus") as pool:
        tasks = [pool.submit(run.shard, shard) for shard in shards]
        try:
            finished, _ = wait(tasks, return_when=FIRST_EXCEPTION)
        finally:
            run.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
    # One shard's failure stops the others; report that failure, not the stopping.
    results = [task.result() for task in sorted(finished, key=tasks.index)]
    return _report(results, time.monotonic() - started)


def locate(source: ComponentRef, paths: Sequence[str], *, cache: Path | None = None) -> list[Path]:
    """Find the data files that :func:`build` would return, without building any.

    Raises :class:`CorpusError` naming the first shard that has no corpus.
    """
    cache = cache or cache_root()
    found = []
    for shard in _open_source(source, paths, FileHashes(cache)):
        folder = shard_folder(cache, source, shard.fingerprint(), DEFAULT_PARSER)
        if not (folder / SIDECAR_NAME).exists():
            raise CorpusError(f"{shard.name}: not preprocessed. Run `midigpt preprocess` first.")
        read_sidecar(folder / SIDECAR_NAME)
        found.append(folder / DATA_NAME)
    return found


@frozen
class _Result:
    data_path: Path
    sidecar: Sidecar
    source: str
    is_new: bool


class _Stopped(Exception):
    """Another shard failed, or the user interrupted the build."""


class _Meter:
    """Counts rows from several threads and reports progress."""

    def __init__(self, shards: Sequence[SourceShard], progress: Callable[[BuildProgress], None] | None) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._parsed = 0
        self._rows = 0
        self._shards = 0
        self._total_shards = len(shards)
        counts = [shard.num_rows() for shard in shards] if progress is not None else []
        self._total_rows = None if None in counts else sum(count for count in counts if count is not None)

    def add(self, *, rows: int, shards: int = 0, parsed: bool = True) -> None:
        if self._progress is None:
            return
        with self._lock:
            self._rows += rows
            self._parsed += rows if parsed else 0
            self._shards += shards
            rate = self._parsed / max(time.monotonic() - self._started, 1e-9)
            self._progress(BuildProgress(self._rows, self._total_rows, self._shards, self._total_shards, rate))


@frozen
class _Parsers:
    """Parser processes, reused from shard to shard: starting one takes longer than parsing a small shard."""

    parser: str
    threads: int
    limits: ParserLimits
    _idle: list[tuple[IsolatedParser, contextlib.ExitStack]] = Factory(list)

    @contextlib.contextmanager
    def one(self) -> Iterator[IsolatedParser]:
        """A parser for a shard; it ends if the shard fails."""
        try:
            parser, held = self._idle.pop()
        except IndexError:
            held = contextlib.ExitStack()
            parser = held.enter_context(IsolatedParser(self.parser, threads=self.threads, limits=self.limits))
        with held:
            yield parser
            self._idle.append((parser, held.pop_all()))

    def close(self) -> None:
        for parser, _ in self._idle:
            parser.end()
        while self._idle:
            self._idle.pop()[1].close()


@frozen
class _Run:
    """One build: what its threads share."""

    source: ComponentRef
    cache: Path
    parser: str
    parsers: _Parsers
    meter: _Meter
    stop: threading.Event = Factory(threading.Event)

    def shard(self, shard: SourceShard) -> _Result:
        """The corpus of one shard; built if it does not exist and no other process builds it."""
        self._check()
        with _blamed(self.source, shard.name):
            fingerprint = shard.fingerprint()
        folder = shard_folder(self.cache, self.source, fingerprint, self.parser)
        sidecar = _present(folder)
        if sidecar is None:
            with owned(folder, waiting=self._check):
                sidecar = _present(folder)
                if sidecar is None:
                    made = self._make(shard, folder, fingerprint)
                    self.meter.add(rows=0, shards=1)
                    return _Result(folder / DATA_NAME, made, shard.name, is_new=True)
        self.meter.add(rows=sidecar.rows, shards=1, parsed=False)
        return _Result(folder / DATA_NAME, sidecar, shard.name, is_new=False)

    def _check(self) -> None:
        if self.stop.is_set():
            raise _Stopped

    def _make(self, shard: SourceShard, folder: Path, fingerprint: str) -> Sidecar:
        # Remove what a killed owner left. A sidecar must never exist next to data that it does not describe.
        with explained(folder):
            files.remove_leftovers(folder)
            (folder / SIDECAR_NAME).unlink(missing_ok=True)
        tally = Tally()
        with self.parsers.one() as parser, ShardWriter(folder) as writer:
            with contextlib.closing(_one_ahead(self._parsed(shard, parser))) as batches:
                for rows, parsed in batches:
                    columns, pieces = to_pieces(rows, parsed)
                    writer.add(columns, pieces)
                    tally.add(columns, pieces, parsed.error_offset)
                    tally.add_dropped(rows.dropped, rows.dropped_rows)
                    self.meter.add(rows=len(pieces.status) + sum(rows.dropped.values()))
                    del rows, parsed, columns, pieces
            self._check_unchanged(shard, fingerprint)
            self._check_count(shard, tally)
            return writer.commit(source=shard.name, fingerprint=fingerprint, tally=tally)

    def _parsed(self, shard: SourceShard, parser: IsolatedParser) -> Generator[tuple[RowBatch, ReadResult]]:
        with contextlib.closing(_one_ahead(self._rows(shard))) as batches:
            for rows in batches:
                self._check()
                yield rows, parser.parse(*midi_buffers(rows))
                del rows

    def _rows(self, shard: SourceShard) -> Generator[RowBatch]:
        with _blamed(self.source, shard.name):
            yield from shard.batches()

    def _check_unchanged(self, shard: SourceShard, fingerprint: str) -> None:
        """Raise if the shard changed: the corpus is stored under the fingerprint, which must match the rows that were
        read."""
        with _blamed(self.source, shard.name):
            if shard.fingerprint() != fingerprint:
                raise DataError(
                    f"{shard.name}: was changed while it was read. Run again when nothing writes to it any more."
                )

    def _check_count(self, shard: SourceShard, tally: Tally) -> None:
        with _blamed(self.source, shard.name):
            expected, found = shard.num_rows(), tally.counts.total()
            if expected is not None and expected != found:
                raise ValueError(f"it announced {expected} rows, and gave or dropped {found}")


@contextlib.contextmanager
def _blamed(source: ComponentRef, where: str) -> Iterator[None]:
    """Report an exception of the source that is not meant for the user as a bug in the source, with its name and
    place."""
    try:
        yield
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(source), where, error) from error


def _one_ahead(items: Generator[_T]) -> Generator[_T]:
    """The same items, each fetched in another thread while the previous one is processed. Closes ``items``."""
    with contextlib.closing(items):
        pool = ThreadPoolExecutor(1)
        try:
            upcoming = pool.submit(next, items, None)
            while (item := upcoming.result()) is not None:
                upcoming = pool.submit(next, items, None)
                yield item
                # Do not keep it while waiting for the next one: a batch takes some ten megabytes.
                del item
        finally:
            pool.shutdown(cancel_futures=True)


def _open_source(ref: ComponentRef, paths: Sequence[str], hash_file: FileHashes) -> Sequence[SourceShard]:
    source: Source = build_component(ref, SourceContext(paths=tuple(paths), hash_file=hash_file))
    with _blamed(ref, "finding shards"):
        shards = source.shards()
    if not shards:
        raise DataError(f"{ref} found no shard in {', '.join(paths)}. Name at least one that holds data.")
    return shards


def _present(folder: Path) -> Sidecar | None:
    try:
        return read_sidecar(folder / SIDECAR_NAME)
    except CorpusError:
        return None


def _report(results: Sequence[_Result], seconds: float) -> BuildReport:
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.sidecar.counts)
    return BuildReport(
        shards=[result.data_path for result in results],
        counts=in_order(counts),
        examples=merge_examples((result.source, result.sidecar.examples) for result in results),
        built=sum(result.is_new for result in results),
        seconds=seconds,
    )
