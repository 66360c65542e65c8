"""Builds corpora on disk from a source's shards: existing ones are reused, missing ones are built, each on its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections import Counter
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

from attrs import Factory, evolve, frozen

from midigpt_core import files
from midigpt_core.contracts import FetchedShard, SourceContext, SourceWithOptions
from midigpt_core.cores import available_cores
from midigpt_core.corpus.cache import FileHashes, cache_root, explained, owned, shard_folder
from midigpt_core.corpus.engines import ShardResult
from midigpt_core.corpus.format import DATA_NAME, SIDECAR_NAME, buffer_dtypes, read_sidecar
from midigpt_core.corpus.ingest import contradiction, midi_buffers, to_pieces, within_bars
from midigpt_core.corpus.isolation import (
    DEFAULT_MEMORY_BYTES,
    DEFAULT_PARSER,
    DEFAULT_TIMEOUT_S,
    IsolatedParser,
    ParserLimits,
)
from midigpt_core.corpus.metadata.arrow import storable
from midigpt_core.corpus.shared_store import shared_store
from midigpt_core.corpus.similar import store_keys
from midigpt_core.corpus.status import in_order
from midigpt_core.corpus.tally import Tally, merge_examples
from midigpt_core.corpus.writer import ShardWriter
from midigpt_core.errors import ComponentError, CorpusError, DataError, MidigptError
from midigpt_core.plugins import build as build_component
from midigpt_core.plugins.targets import import_target
from midigpt_core.score.similarity import MusicKeys, joined_keys, music_keys
from midigpt_core.system.limits import allow_open

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from midigpt_core.components import ComponentRef
    from midigpt_core.contracts import RowBatch, Source, SourceShard
    from midigpt_core.corpus.engines import Engine
    from midigpt_core.corpus.format import Sidecar
    from midigpt_core.corpus.part import Part
    from midigpt_core.corpus.shared_store import SharedStore
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
    #: Name of each shard, as its paths were given now; its corpus may have been built from a copy elsewhere.
    sources: list[str] = Factory(list)
    #: Rows by reason; ``"kept"`` are those with music. They add up to all rows of the source.
    counts: dict[str, int]
    #: A few rows for each reason but ``"kept"``, each with its file.
    examples: dict[str, list[str]]
    #: Number of shards that this build parsed.
    built: int = 0
    #: Number of shards that this build copied from the store.
    fetched: int = 0
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        return sum(self.counts.values())


def build(
    source: ComponentRef,
    paths: Sequence[str],
    *,
    cache: Path | None = None,
    store: SharedStore | None = None,
    publish: bool = False,
    part: Part | None = None,
    engine: Engine | None = None,
    workers: int | None = None,
    parser: str = DEFAULT_PARSER,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    verify: bool = False,
    progress: Callable[[BuildProgress], None] | None = None,
) -> BuildReport:
    """Build the corpora of all shards of a source; existing ones are not built again.

    A corpus that the cache does not have is copied from ``store`` (default: the one that ``MIDIGPT_STORE`` names) if it
    is there. With ``publish``, each corpus that the store does not have is copied into it. With ``part``, only the
    shards of that part are built. ``engine`` builds them on its machines; with a store, the cache then keeps none of
    them and the paths of the report lead nowhere.

    ``workers`` shards are read at a time (default: one per available processor). ``verify`` hashes source files again
    even if path, size and time match the cache. ``progress`` is called from several threads, one call at a time.
    ``timeout_s`` and ``memory_bytes`` bound the parsing of a file (:class:`ParserLimits`). ``parser`` is a seam for
    tests.

    Raises :class:`DataError` if a shard cannot be read, :class:`midigpt_core.files.WriteError` if the cache cannot be
    written, :class:`CorpusError` if the store cannot be read or written, :class:`ComponentError` for a bug in the
    source. Shards that are finished by then are kept.
    """
    started = time.monotonic()
    cache = cache or cache_root()
    store = store or shared_store()
    if store is not None and publish:
        store.require_usable()
    shards, options = _open_source(source, paths, FileHashes(cache, verify=verify, shared=store))
    if part is not None:
        shards = part.of(shards)
    limits = ParserLimits(timeout_s, memory_bytes)
    if engine is not None:
        task = _Task(
            source=source, options=options, cache=cache, store=store, publish=publish, parser=parser, limits=limits
        )
        return _report(_elsewhere(engine, task, shards, progress), time.monotonic() - started)
    cores = available_cores()
    active = max(1, min(workers or cores, len(shards)))
    allow_open(active * _FILES_A_SHARD)
    parsers = _Parsers(parser, max(1, cores // active), limits)
    run = _Run(source, options, cache, parser, parsers, _Meter(shards, progress), store, publish=publish, shards=shards)
    with contextlib.closing(parsers), ThreadPoolExecutor(active, thread_name_prefix="corpus") as pool:
        tasks = [pool.submit(run.shard, shard) for shard in shards]
        try:
            finished, _ = wait(tasks, return_when=FIRST_EXCEPTION)
        finally:
            run.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            run.forget()
    # One shard's failure stops the others; report that failure, not the stopping.
    results = [task.result() for task in sorted(finished, key=tasks.index)]
    return _report(results, time.monotonic() - started)


@frozen(kw_only=True)
class _Task:
    """Builds a shard's corpus wherever it is called: see :class:`midigpt_core.corpus.engines.ShardTask`."""

    source: ComponentRef
    #: The options that belong to the key of a corpus.
    options: Mapping[str, Any]
    #: The folder of the cache, which the machines share unless there is a store.
    cache: Path
    store: SharedStore | None
    publish: bool
    parser: str
    limits: ParserLimits
    #: A file in the cache by which a machine sees that it is the same folder.
    marker: Path | None = None

    def check(self) -> None:
        import_target(self.source.target, self.source.import_paths)
        if self.store is not None:
            self.store.require_usable()
        elif self.marker is not None and not self.marker.exists():
            raise CorpusError(
                f"{self.cache}: is not the same folder there as here. Name in MIDIGPT_CACHE a folder that all machines "
                "share, or in MIDIGPT_STORE a store."
            )

    def __call__(self, shard: SourceShard) -> ShardResult:
        allow_open(_FILES_A_SHARD)
        cache = self.cache if self.store is None else cache_root()
        with contextlib.closing(_Parsers(self.parser, 1, self.limits)) as parsers:
            run = _Run(
                self.source,
                self.options,
                cache,
                self.parser,
                parsers,
                _Meter([], None),
                self.store,
                publish=self.publish,
                keep=False,
            )
            return run.shard(shard)


def _elsewhere(
    engine: Engine, task: _Task, shards: Sequence[SourceShard], progress: Callable[[BuildProgress], None] | None
) -> list[ShardResult]:
    """The results of all shards, in their order."""
    results: dict[int, ShardResult] = {}
    # To open each shard here for its number of rows would take longer than the machines need for some.
    meter = _Meter(shards, progress, count_rows=False)
    marker = task.cache / "machines" / f"{os.getpid()}-{os.urandom(8).hex()}"
    with explained(marker):
        files.write_bytes(marker, b"")
    try:
        with contextlib.closing(engine.run(evolve(task, marker=marker), shards)) as finished:
            for number, result in finished:
                results[number] = result
                meter.add(rows=result.rows, shards=1, parsed=result.is_new)
    finally:
        with contextlib.suppress(OSError):
            marker.unlink()
    return [results[number] for number in range(len(shards))]


def locate(source: ComponentRef, paths: Sequence[str], *, cache: Path | None = None) -> list[Path]:
    """Find the data files that :func:`build` would return, without building any. They are copied from the store that
    ``MIDIGPT_STORE`` names if they are there alone.

    Raises :class:`CorpusError` naming the first shard that has no corpus.
    """
    return [path for path, _ in locate_named(source, paths, cache=cache)]


def locate_named(source: ComponentRef, paths: Sequence[str], *, cache: Path | None = None) -> list[tuple[Path, str]]:
    """Like :func:`locate`, each data file with the name that its shard has now."""
    cache = cache or cache_root()
    store = shared_store()
    found = []
    shards, options = _open_source(source, paths, FileHashes(cache, shared=store))
    for shard in shards:
        folder = shard_folder(cache, source, shard.fingerprint(), DEFAULT_PARSER, options)
        if store is not None and _present(folder) is None:
            with owned(folder, waiting=_nothing):
                if _present(folder) is None:
                    _clear(folder)
                    store.fetch(folder)
        if not (folder / SIDECAR_NAME).exists():
            raise CorpusError(f"{shard.name}: not preprocessed. Run `midigpt preprocess` first.")
        read_sidecar(folder / SIDECAR_NAME)
        found.append((folder / DATA_NAME, shard.name))
    return found


class _Stopped(Exception):
    """Another shard failed, or the user interrupted the build."""


class _Meter:
    """Counts rows from several threads and reports progress."""

    def __init__(
        self,
        shards: Sequence[SourceShard],
        progress: Callable[[BuildProgress], None] | None,
        *,
        count_rows: bool = True,
    ) -> None:
        self._progress = progress
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._parsed = 0
        self._rows = 0
        self._shards = 0
        self._total_shards = len(shards)
        counts = [shard.num_rows() if count_rows else None for shard in shards] if progress is not None else []
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
    #: The options that belong to the key of a corpus.
    options: Mapping[str, Any]
    cache: Path
    parser: str
    parsers: _Parsers
    meter: _Meter
    store: SharedStore | None = None
    #: Whether the store gets the corpora that it does not have.
    publish: bool = False
    #: Whether the cache keeps the corpora that the store gets.
    keep: bool = True
    #: All shards of the build, for fetching the next one ahead.
    shards: Sequence[SourceShard] = ()
    #: Shards that need not be fetched ahead, by id: they were begun, are fetched, or have a corpus here or there.
    _settled: set[int] = Factory(set)
    _settling: threading.Lock = Factory(threading.Lock)
    stop: threading.Event = Factory(threading.Event)

    def shard(self, shard: SourceShard) -> ShardResult:
        """The corpus of one shard; built if it does not exist and no other process builds it."""
        self._check()
        self._settle(shard)
        with _blamed(self.source, shard.name):
            fingerprint = shard.fingerprint()
        folder = shard_folder(self.cache, self.source, fingerprint, self.parser, self.options)
        sidecar = self._found(folder)
        if sidecar is not None:
            result = _result(shard, folder, sidecar)
        else:
            with owned(folder, waiting=self._check):
                result = self._owned_shard(shard, folder, fingerprint)
                if self.store is not None and self.publish:
                    self.store.put(folder, replace=result.is_new)
                    if result.is_new and not self.keep:
                        shutil.rmtree(folder)
        self.meter.add(rows=0 if result.is_new else result.rows, shards=1, parsed=result.is_new)
        return result

    def _found(self, folder: Path) -> Sidecar | None:
        """The sidecar of a corpus that is where it belongs already."""
        if self.store is None or not self.publish:
            return _present(folder)
        sidecar = _present(folder) if self.keep else None
        return self.store.sidecar(folder.name) if sidecar is not None or not self.keep else None

    def _owned_shard(self, shard: SourceShard, folder: Path, fingerprint: str) -> ShardResult:
        sidecar = _present(folder)
        if sidecar is not None:
            return _result(shard, folder, sidecar)
        _clear(folder)
        sidecar = None if self.store is None else self.store.fetch(folder)
        if sidecar is not None:
            return _result(shard, folder, sidecar, is_fetched=True)
        return _result(shard, folder, self._make(shard, folder, fingerprint), is_new=True)

    def _prefetch(self) -> None:
        """Let one more shard be fetched ahead: the next that has no corpus, here or in the store. Each shard that is
        parsed has one fetched, so as many are ahead as are parsed at a time."""
        for shard in self.shards:
            if not isinstance(shard, FetchedShard) or not self._settle(shard):
                continue
            with _blamed(self.source, shard.name):
                folder = shard_folder(self.cache, self.source, shard.fingerprint(), self.parser, self.options)
                if _present(folder) is None and (self.store is None or self.store.sidecar(folder.name) is None):
                    shard.prefetch()
                    return

    def _settle(self, shard: SourceShard) -> bool:
        """Whether it was not settled before. A store is asked once for each shard."""
        with self._settling:
            is_new = id(shard) not in self._settled
            self._settled.add(id(shard))
            return is_new

    def forget(self) -> None:
        """Nothing is read any more: what was fetched ahead and not read need not stay."""
        for shard in self.shards:
            if isinstance(shard, FetchedShard):
                with _blamed(self.source, shard.name):
                    shard.forget()

    def _check(self) -> None:
        if self.stop.is_set():
            raise _Stopped

    def _make(self, shard: SourceShard, folder: Path, fingerprint: str) -> Sidecar:
        tally = Tally()
        # Less than a hundredth of the shard.
        keys: list[MusicKeys] = []
        types: dict[str, pa.DataType] | None = None
        with self.parsers.one() as parser, ShardWriter(folder) as writer:
            with contextlib.closing(_one_ahead(self._parsed(shard, parser))) as batches:
                for rows, parsed in batches:
                    rows, parsed, outside = within_bars(rows, parsed)
                    tally.add_dropped(*outside)
                    columns, pieces = to_pieces(rows, parsed)
                    with _blamed(self.source, shard.name):
                        metadata = storable(rows, types)
                    if len(rows.row):
                        types = {name: values.type for name, values in metadata.items()}
                    writer.add(columns, pieces, metadata)
                    keys.append(music_keys(columns))
                    tally.add(columns, pieces, parsed.error_offset)
                    tally.add_dropped(rows.dropped, rows.dropped_rows)
                    dropped = sum(rows.dropped.values()) + sum(outside[0].values())
                    self.meter.add(rows=len(pieces.status) + dropped)
                    del rows, parsed, columns, pieces, metadata
            self._check_unchanged(shard, fingerprint)
            self._check_count(shard, tally)
            # Before the commit: what is left of it in a build that is killed is removed by the next one.
            store_keys(folder, joined_keys(keys))
            return writer.commit(source=shard.name, fingerprint=fingerprint, tally=tally)

    def _parsed(self, shard: SourceShard, parser: IsolatedParser) -> Generator[tuple[RowBatch, ReadResult]]:
        is_reading = False
        with contextlib.closing(_one_ahead(self._rows(shard))) as batches:
            for rows in batches:
                self._check()
                if len(rows.row) and not is_reading:
                    # Now, and not before: fetching two at a time would take as long and keep this one waiting.
                    is_reading = True
                    self._prefetch()
                yield rows, parser.parse(*midi_buffers(rows))
                del rows

    def _rows(self, shard: SourceShard) -> Generator[RowBatch]:
        with _blamed(self.source, shard.name):
            for rows in shard.batches():
                if problem := contradiction(rows):
                    raise ValueError(f"batches() gave {problem}")
                yield rows

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


def _open_source(
    ref: ComponentRef, paths: Sequence[str], hash_file: FileHashes
) -> tuple[Sequence[SourceShard], Mapping[str, Any]]:
    """The shards, and the options that belong to the key of their corpora."""
    source: Source = build_component(
        ref, SourceContext(paths=tuple(paths), hash_file=hash_file, remember=hash_file.fact)
    )
    with _blamed(ref, "finding shards"):
        shards = source.shards()
        for shard in shards or ():
            if not isinstance(shard.name, str):
                raise TypeError(f"the name of a shard is {shard.name!r}, not a str")
    if not shards:
        raise DataError(f"{ref} found no shard in {', '.join(paths)}. Name at least one that holds data.")
    return shards, source.row_options if isinstance(source, SourceWithOptions) else ref.options


def _clear(folder: Path) -> None:
    """Remove what a killed owner left. A sidecar must never exist next to data that it does not describe."""
    with explained(folder):
        files.remove_leftovers(folder)
        (folder / SIDECAR_NAME).unlink(missing_ok=True)


def _nothing() -> None:
    """Do nothing while another process owns a shard."""


def _present(folder: Path) -> Sidecar | None:
    try:
        return read_sidecar(folder / SIDECAR_NAME)
    except CorpusError:
        return None


def _result(
    shard: SourceShard, folder: Path, sidecar: Sidecar, *, is_new: bool = False, is_fetched: bool = False
) -> ShardResult:
    return ShardResult(
        data_path=folder / DATA_NAME,
        source=shard.name,
        counts=sidecar.counts,
        examples=sidecar.examples,
        is_new=is_new,
        is_fetched=is_fetched,
    )


def _report(results: Sequence[ShardResult], seconds: float) -> BuildReport:
    counts: Counter[str] = Counter()
    for result in results:
        counts.update(result.counts)
    return BuildReport(
        shards=[result.data_path for result in results],
        sources=[result.source for result in results],
        counts=in_order(counts),
        examples=merge_examples((result.source, result.examples) for result in results),
        built=sum(result.is_new for result in results),
        fetched=sum(result.is_fetched for result in results),
        seconds=seconds,
    )
