"""Where corpora are stored, how they are named, and who may write one.

``<cache>/corpus/<key>/`` contains the corpus of one shard of a source, ``<cache>/locks/`` its lock, ``<cache>/hashes/``
the BLAKE3 of source files by path, size, time and tail.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from midigpt_core import files
from midigpt_core.corpus.format import FORMAT_VERSION, READER_VERSION
from midigpt_core.errors import CorpusError
from midigpt_core.files import FileState
from midigpt_core.paths import usable_path
from midigpt_core.system import locks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from midigpt_core.components import ComponentRef

# The tail contains a parquet file's footer, which changes with any column of any row group.
_TAIL_BYTES = 64 << 10
#: A longer fact is found out again each time: a shared store reads no more than 64 KiB of a file's facts.
_MOST_FACT_CHARACTERS = 16 << 10
_LOCK_POLL_S = 0.05
_owned_folders: set[Path] = set()
_guard = threading.Lock()


def cache_root() -> Path:
    """``MIDIGPT_CACHE``, else ``~/.midigpt``. Raises :class:`CorpusError` if that is not a folder or cannot be
    reached."""
    chosen = os.environ.get("MIDIGPT_CACHE", "~/.midigpt")
    hint = "MIDIGPT_CACHE names the folder of the cache."
    if "://" in chosen:
        raise CorpusError(
            f"MIDIGPT_CACHE {chosen}: is not a folder of this machine. "
            "Name the store in MIDIGPT_STORE, and leave MIDIGPT_CACHE to this machine's copies."
        )
    if not chosen.startswith("~"):
        usable_path(chosen, what="MIDIGPT_CACHE", error=CorpusError)
    try:
        cache = Path(chosen).expanduser()
        is_folder = stat.S_ISDIR(cache.stat().st_mode)
    except FileNotFoundError:
        return cache
    except OSError as error:
        raise CorpusError(f"{chosen}: cannot be reached ({error.strerror}). {hint}") from error
    except RuntimeError as error:
        raise CorpusError(f"{chosen}: {str(error).rstrip('.')}. {hint}") from error
    if not is_folder:
        raise CorpusError(f"{chosen}: is not a folder. {hint}")
    return cache


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Like :func:`midigpt_core.files.explained`, for a path in the cache: the message says how to choose another
    cache."""
    try:
        with files.explained(path):
            yield
    except files.WriteError as error:
        raise files.WriteError(f"{error} MIDIGPT_CACHE names the folder of the cache.") from error


def corpora_folder(cache: Path) -> Path:
    return cache / "corpus"


def shard_folder(
    cache: Path, source: ComponentRef, fingerprint: str, parser: str, options: Mapping[str, Any] | None = None
) -> Path:
    """The folder of a source shard's corpus: its name is a hash of the bytes and of everything that interprets them.

    ``options`` are those that the rows depend on, by default all of ``source``.
    """
    interpreting = dict(source.options if options is None else options)
    identity = [fingerprint, source.target, interpreting, parser, FORMAT_VERSION, READER_VERSION]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return corpora_folder(cache) / key[:32]


@contextlib.contextmanager
def owned(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Make this the only process and thread that writes in a shard's folder; ``waiting`` is called while another one
    does.

    If the file system has no locks (:meth:`midigpt_core.system.locks.Lock.take`), only threads of this process are kept
    out.
    """
    lock = folder.parent.parent / "locks" / folder.name
    with explained(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        # The lock file stays: if it were removed, two owners could lock two files of the same name.
        own = locks.of_file(lock)
    with own, _owned_here(folder, waiting):
        while not _take(own, lock):
            waiting()
            time.sleep(_LOCK_POLL_S)
        yield


def _take(own: locks.Lock, path: Path) -> bool:
    with explained(path):
        return own.take()


@contextlib.contextmanager
def _owned_here(folder: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """The same among the threads of this process: two source files with equal content share a folder."""
    while True:
        with _guard:
            if folder not in _owned_folders:
                _owned_folders.add(folder)
                break
        waiting()
        time.sleep(_LOCK_POLL_S)
    try:
        yield
    finally:
        with _guard:
            _owned_folders.discard(folder)


class HashMemory(Protocol):
    """Where hashes of source files are remembered for other machines."""

    def recall(self, name: str) -> bytes | None: ...

    def remember(self, name: str, content: bytes) -> None: ...


class FileHashes:
    """BLAKE3 of files, stored in the cache. ``verify``: hash each file again, once, whatever earlier builds stored.

    ``shared`` is asked for hashes that the cache does not have, and told new ones. It can be pickled: a copy knows what
    is stored, and nothing of what this object has hashed.

    :meth:`fact` remembers what a source finds out about a file, next to its hash.

    A stored hash is enough to find a corpus. A build that makes a corpus hashes the file again after it has read the
    rows, so its hash is computed from the current bytes.

    Raises :class:`midigpt_core.errors.DataError` that names a file if it changes while it is hashed.
    """

    def __init__(self, cache: Path, *, verify: bool = False, shared: HashMemory | None = None) -> None:
        self._cache = cache
        self._folder = cache / "hashes"
        self._verify = verify
        self._shared = shared
        #: Hashes of this build by path, each with the state of the file.
        self._hashed: dict[Path, tuple[FileState, str]] = {}
        #: Paths whose hash an earlier build stored.
        self._recalled: set[Path] = set()

    def __reduce__(self) -> tuple[Callable[[], FileHashes], tuple[()]]:
        return partial(FileHashes, self._cache, verify=self._verify, shared=self._shared), ()

    def __call__(self, path: Path) -> str:
        state = FileState.of(path)
        hashed = self._hashed.get(path)
        if hashed is not None and hashed[0] == state and path not in self._recalled:
            return hashed[1]
        identity = _identity(path)
        memory = self._memory(identity)
        stored = None if self._verify or hashed is not None else self._stored(memory, identity)
        if stored is not None:
            content_hash = str(stored["blake3"])
            self._recalled.add(path)
        else:
            self._recalled.discard(path)
            content_hash = files.blake3_of(path)
            state.check(path)
            self._store(memory, {"file": identity, "blake3": content_hash, "facts": {}})
        state.check(path)
        self._hashed[path] = (state, content_hash)
        return content_hash

    def fact(
        self,
        path: Path,
        name: str,
        compute: Callable[[], str],
        is_usable: Callable[[str], bool] = lambda _: True,
        /,
    ) -> str:
        """See :attr:`midigpt_core.contracts.SourceContext.remember`."""
        identity = _identity(path)
        memory = self._memory(identity)
        stored = None if self._verify else self._stored(memory, identity)
        if stored is None:
            return compute()
        facts = stored["facts"]
        if name not in facts or not is_usable(str(facts[name])):
            fact = compute()
            if len(fact) > _MOST_FACT_CHARACTERS:
                return fact
            facts[name] = fact
            self._store(memory, stored)
        return str(facts[name])

    def _memory(self, identity: Mapping[str, str | int]) -> Path:
        return self._folder / f"{hashlib.sha256(os.fsencode(str(identity['path']))).hexdigest()[:32]}.json"

    def _store(self, memory: Path, content: Mapping[str, Any]) -> None:
        # Storing only saves time. A cache that cannot be written is reported when the corpus is written.
        with contextlib.suppress(files.WriteError, CorpusError, OSError):
            files.remove_leftovers(self._folder)
            stored = json.dumps(content)
            files.write_text(memory, stored)
            if self._shared is not None:
                self._shared.remember(memory.name, stored.encode())

    def _stored(self, memory: Path, identity: Mapping[str, str | int]) -> dict[str, Any] | None:
        with contextlib.suppress(OSError):
            if (stored := _remembered(memory.read_bytes(), identity)) is not None:
                return stored
        content = None if self._shared is None else self._shared.recall(memory.name)
        return None if content is None else _remembered(content, identity)


def _identity(path: Path) -> dict[str, str | int]:
    """What must be unchanged for a stored hash to be valid."""
    status = path.stat()
    with path.open("rb") as stream:
        stream.seek(max(0, status.st_size - _TAIL_BYTES))
        tail = hashlib.sha256(stream.read(_TAIL_BYTES)).hexdigest()
    return {"path": str(path.resolve()), "size": status.st_size, "mtime_ns": status.st_mtime_ns, "tail": tail}


def _remembered(content: bytes, identity: Mapping[str, str | int]) -> dict[str, Any] | None:
    try:
        stored = json.loads(content)
        if stored["file"] != identity:
            return None
        return {"file": identity, "blake3": str(stored["blake3"]), "facts": dict(stored.get("facts", {}))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
