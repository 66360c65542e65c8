"""Shards that are fetched from the Hub when they are parsed, the next one while this one is.

Transport, token and cache are huggingface_hub's: it resumes a download whose connection breaks. Every file is compared
with the length and hash that the Hub lists for it.
"""

from __future__ import annotations

import errno
import hashlib
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from attrs import define, field
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
from huggingface_hub.utils.tqdm import tqdm

from midigpt_core import __version__, terminal
from midigpt_core.contracts import RowBatch
from midigpt_core.errors import DataError
from midigpt_core.huggingface import NO_ANSWER, endpoint, explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from midigpt_core.contracts import SourceShard
    from midigpt_gigamidi.hub.listing import HubFile

_ATTEMPTS = 3
# While a file is fetched, an empty batch is given this often, so that a build can be stopped.
_POLL_SECONDS = 0.2
_PIECE_BYTES = 64 << 10
_SHA256_LENGTH = 64
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
# The range that a download asks for begins at or behind the end of the file.
_WRONG_RANGE = 416
_SERVER_ERRORS = 500
# Of the message of a RuntimeError of the HTTP client.
_CLOSED_CLIENT = "client has been closed"

# Downloads are collected in pieces of this size, in which they arrive. Larger ones outgrow the processor's caches: of
# 10 MiB each, downloads take more than twice the processor time that they take of 1 MiB each, and with these a whole
# preprocessing takes 1.2 times as much. huggingface_hub has no option for it; if it renames the constant, nothing
# changes but the time.
constants.DOWNLOAD_CHUNK_SIZE = _PIECE_BYTES


class _NoBar(tqdm):
    """The build shows its own progress."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]


@define(eq=False)
class HubFiles:
    """Fetches files, each once, in threads that do not keep the process from ending."""

    #: Whether files stay in huggingface_hub's cache; those that were there before always do.
    keep: bool
    _fetched: dict[HubFile, Future[Path]] = field(init=False, factory=dict)
    _there_before: set[HubFile] = field(init=False, factory=set)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        # On another machine nothing is fetched yet.
        return HubFiles, (self.keep,)

    def start(self, file: HubFile) -> Future[Path]:
        """Begin to fetch ``file``, unless that has begun; the result is its path in the cache."""
        with self._lock:
            found = self._fetched.get(file)
            if found is None:
                found = self._fetched[file] = Future()
                if file.blob.is_file():
                    self._there_before.add(file)
                threading.Thread(target=_fetch_into, args=(found, file), daemon=True, name="hub").start()
            return found

    def done_with(self, file: HubFile) -> None:
        """Remove the file from the cache if files are not kept, as soon as it was fetched."""
        with self._lock:
            fetched = self._fetched.pop(file, None)
            is_kept = self.keep or file in self._there_before
        if fetched is not None and not is_kept:
            # At once if it was fetched, else in the thread that fetches it.
            fetched.add_done_callback(lambda done: _remove(done, file))


@define(eq=False)
class HubShard:
    """One parquet file on the Hub."""

    file: HubFile
    files: HubFiles
    #: Makes the shard that reads the file once it is on the disk, given its path and name.
    local: Callable[[Path, str], SourceShard]

    @property
    def name(self) -> str:
        return str(self.file)

    def num_rows(self) -> None:
        """Known only once the file was fetched."""
        return

    def fingerprint(self) -> str:
        # Of a file at a commit, which does not change: nothing is fetched for a shard that has a corpus.
        return f"hub {self.file.content_id}"

    def prefetch(self) -> None:
        """Begin to fetch the file; returns at once."""
        self.files.start(self.file)

    def forget(self) -> None:
        """Remove the file if files are not kept; a download that is under way is removed when it ends."""
        self.files.done_with(self.file)

    def batches(self) -> Iterator[RowBatch]:
        fetched = self.files.start(self.file)
        try:
            while True:
                try:
                    path = fetched.result(_POLL_SECONDS)
                    break
                except NotYetError:
                    if fetched.done():
                        raise
                    yield _empty()
            yield from self.local(path, self.name).batches()
        finally:
            if fetched.done():
                self.files.done_with(self.file)


def _empty() -> RowBatch:
    return RowBatch(row=np.zeros(0, np.int64), ids=pa.array([], pa.string()), midi=pa.array([], pa.large_binary()))


def _remove(fetched: Future[Path], file: HubFile) -> None:
    if fetched.exception() is None:
        for path in {fetched.result(), file.blob}:
            path.unlink(missing_ok=True)


def _fetch_into(result: Future[Path], file: HubFile) -> None:
    try:
        result.set_result(_fetch(file))
    except BaseException as error:  # noqa: BLE001 (raised where the result is asked for)
        result.set_exception(error)


def _fetch(file: HubFile) -> Path:
    """The path of the file in the cache, whole. Raises :class:`DataError`."""
    if file.blob.is_file() and _damage(file, file.blob) is None:
        return file.blob
    problem = ""
    for _ in range(_ATTEMPTS):
        # A damaged copy would be taken for the file.
        file.blob.unlink(missing_ok=True)
        try:
            path = _download(file)
        except NO_ANSWER as raised:
            # What it raises for a file that it could not ask for names the cause only in the chain.
            error = raised.__cause__ if isinstance(raised, LocalEntryNotFoundError) and raised.__cause__ else raised
            problem = explained(file.repo, file.commit, error, "data set")
            if type(error) is OSError and error.errno is None:
                # Of bytes that came, not of the network: the wrong number of them.
                problem = f"{file}: {terminal.printable(str(error).splitlines()[0])} Run again."
            if isinstance(raised, OSError) and raised.errno in _FULL_DISK:
                raise DataError(
                    f"{file}: the disk with huggingface_hub's cache is full. Make room, set HF_HOME to another folder, "
                    "or set source.keep_downloads=false."
                ) from raised
            if isinstance(error, OfflineModeIsEnabled) or (isinstance(error, HfHubHTTPError) and _is_final(error)):
                raise DataError(problem) from raised
        else:
            damage = _damage(file, path)
            if damage is None:
                return path
            problem = f"{file}: {damage}. Run again; if it stays so, report it to the owner of the data set."
            path.unlink()
    raise DataError(problem)


def _is_final(error: HfHubHTTPError) -> bool:
    """Whether asking again gets the same answer."""
    return error.response.status_code != _WRONG_RANGE and error.response.status_code < _SERVER_ERRORS


def _download(file: HubFile) -> Path:
    try:
        path = hf_hub_download(
            file.repo,
            file.path,
            repo_type="dataset",
            revision=file.commit,
            endpoint=endpoint(),
            library_name="midigpt-core",
            library_version=__version__,
            tqdm_class=_NoBar,
        )
    except RuntimeError as error:
        # All threads share a client, and one that cannot connect closes it for the others: they have lost a connection.
        if _CLOSED_CLIENT not in str(error):
            raise
        raise ConnectionAbortedError(str(error)) from error
    return Path(str(path))


def _damage(file: HubFile, path: Path) -> str | None:
    """What is wrong with a copy; None if it has the length and hash that the Hub lists."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"the copy has {size:,} bytes instead of {file.size:,}"
    digest = hashlib.sha256() if len(file.content_id) == _SHA256_LENGTH else hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as stream:
        hashlib.file_digest(stream, lambda: digest)
    return None if digest.hexdigest() == file.content_id else "the copy's hash is not the one that the Hub lists"
