"""Corpora in a store that several machines share: a folder, or an object store that ``pyarrow.fs`` reaches.

``<store>/corpus/<key>/pieces.json`` is a shard's sidecar, ``<store>/corpus/<key>/<hash of the sidecar>/`` its data
files, so the files of two writers never mix. The sidecar is stored last: without it there is no corpus. Data files are
read in one way only: a shard is copied into this machine's cache, every byte of the copy is checked, and then the copy
gets its sidecar. The keys of the pieces (:mod:`midigpt_core.corpus.similar`) are copied with them; a machine computes
those that it does not find. ``<store>/hashes/`` has the hashes of source files, as a cache has.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import fs

from midigpt_core import files, terminal
from midigpt_core.corpus.cache import explained
from midigpt_core.corpus.format import DATA_NAME, SIDECAR_NAME, parse_sidecar
from midigpt_core.corpus.similar import KEYS_NAME, stored_size
from midigpt_core.corpus.store import ShardFile
from midigpt_core.errors import CorpusError
from midigpt_core.paths import usable_path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from midigpt_core.corpus.format import Sidecar

_log = terminal.logger("midigpt_core.corpus")

_VARIABLE = "MIDIGPT_STORE"
_COPIED_BYTES = 8 << 20
# An object store is fast only if several files are copied at a time.
_COPIES = 4
# A sidecar has some 20 bytes for each 256 KiB of its shard.
_MOST_SIDECAR_BYTES = 256 << 20
_MOST_HASH_BYTES = 64 << 10
# In these an object appears when it is complete, in place of the previous one.
_ATOMIC = ("s3", "gcs", "abfs")
_LOCAL = "local"


def shared_store() -> SharedStore | None:
    """The store that ``MIDIGPT_STORE`` names; None if it is unset or empty. Raises :class:`CorpusError`."""
    address = os.environ.get(_VARIABLE, "")
    return SharedStore(address) if address else None


class SharedStore:
    """A store, by its address: a folder, or a URI such as ``s3://bucket/folder``. It can be pickled.

    Every method raises :class:`CorpusError` that names the store if the store cannot be read or written.
    """

    def __init__(self, address: str) -> None:
        if "://" not in address:
            address = str(usable_path(address, what=_VARIABLE, error=CorpusError).absolute())
        self.address = address
        with self._explained("cannot be used"):
            self._system, base = fs.FileSystem.from_uri(address)
        self._base = base.rstrip("/")

    def __reduce__(self) -> tuple[Callable[[str], SharedStore], tuple[str]]:
        return SharedStore, (self.address,)

    def __str__(self) -> str:
        """The address without the key, password and settings that a URI may contain."""
        scheme, slashes, rest = self.address.partition("://")
        place = rest.partition("?")[0].rpartition("@")[2]
        return f"{scheme}{slashes}{place}" if slashes else self.address

    def require_usable(self) -> None:
        """Raise unless an object can be written, read and removed."""
        name = f"probes/{os.urandom(8).hex()}"
        self._write(name, iter([name.encode()]))
        if self._read(name, _MOST_HASH_BYTES) != name.encode():
            raise CorpusError(f"{self}: does not return what was written to it. {_hint()}")
        with self._explained("cannot be written"):
            self._system.delete_file(self._path(name))

    def sidecar(self, key: str) -> Sidecar | None:
        """The sidecar of a corpus, by the corpus's name; None if the store has none, or only a part of the corpus."""
        found = self._sidecar(key)
        return None if found is None else found[1]

    def fetch(self, folder: Path) -> Sidecar | None:
        """Copy a corpus into ``folder`` of the cache, which is named after it and which the caller owns.

        None if the store has no such corpus, or a damaged one, which a warning names. Raises
        :class:`midigpt_core.files.WriteError` if the cache cannot be written.
        """
        found = self._sidecar(folder.name)
        if found is None:
            return None
        content, sidecar = found
        prefix = _data_prefix(folder.name, content)
        sizes = sidecar.sizes()
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            with ThreadPoolExecutor(_COPIES, thread_name_prefix="from-store") as pool:
                list(pool.map(lambda name: self._copy_here(f"{prefix}/{name}", folder / name, sizes[name]), sizes))
            _verify(folder, sidecar)
            # Damaged ones are not read, and computed again.
            with contextlib.suppress(_DamagedError):
                self._copy_here(f"{prefix}/{KEYS_NAME}", folder / KEYS_NAME, stored_size(sidecar))
            with explained(folder):
                files.write_bytes(folder / SIDECAR_NAME, content)
        except BaseException as error:
            # Without a sidecar they are no corpus and would only take space.
            for name in (*sizes, KEYS_NAME):
                (folder / name).unlink(missing_ok=True)
            if not isinstance(error, _DamagedError):
                raise
            _log.warning("%s/%s: %s It is not used.", self, prefix, error)
            return None
        return sidecar

    def put(self, folder: Path, *, replace: bool = False) -> None:
        """Store the corpus in ``folder`` of the cache, which the caller owns.

        A corpus of that name that the store has already stays, unless ``replace``.
        """
        key = folder.name
        if not replace and self._sidecar(key) is not None:
            return
        with explained(folder):
            content = (folder / SIDECAR_NAME).read_bytes()
        prefix = _data_prefix(key, content)
        names = [*parse_sidecar(content, folder / SIDECAR_NAME).sizes()]
        if (folder / KEYS_NAME).exists():
            names.append(KEYS_NAME)
        with ThreadPoolExecutor(_COPIES, thread_name_prefix="to-store") as pool:
            list(pool.map(lambda name: self._write(f"{prefix}/{name}", _blocks_of(folder / name)), names))
        self._write(f"corpus/{key}/{SIDECAR_NAME}", iter([content]))

    def recall(self, name: str) -> bytes | None:
        """What :meth:`remember` stored under ``name``, a hash of a source file; None: nothing."""
        return self._read(f"hashes/{name}", _MOST_HASH_BYTES)

    def remember(self, name: str, content: bytes) -> None:
        self._write(f"hashes/{name}", iter([content]))

    def _sidecar(self, key: str) -> tuple[bytes, Sidecar] | None:
        """A sidecar as it is stored and as it reads, if all files that it describes are there."""
        path = f"corpus/{key}/{SIDECAR_NAME}"
        content = self._read(path, _MOST_SIDECAR_BYTES)
        if content is None:
            return None
        try:
            sidecar = parse_sidecar(content, f"{self}/{path}")
        except CorpusError as error:
            _log.warning("%s It is not used.", error)
            return None
        prefix = _data_prefix(key, content)
        with self._explained("cannot be read"):
            listed = self._system.get_file_info(fs.FileSelector(self._path(prefix), allow_not_found=True))
        if {(info.base_name, info.size) for info in listed} >= sidecar.sizes().items():
            return content, sidecar
        _log.warning("%s/%s: files are missing or incomplete. It is not used.", self, prefix)
        return None

    def _read(self, name: str, limit: int) -> bytes | None:
        """The content of a small object; None if there is none."""
        content = b""
        with contextlib.suppress(FileNotFoundError), contextlib.closing(self._blocks(name)) as blocks:
            for block in blocks:
                content += block
                if len(content) > limit:
                    raise CorpusError(
                        f"{self}/{name}: is larger than the limit of {limit:,} bytes. Remove it from the store."
                    )
            return content
        return None

    def _copy_here(self, name: str, path: Path, size: int) -> None:
        copied = 0
        try:
            with files.atomic_writer(path) as target, contextlib.closing(self._blocks(name)) as blocks:
                for block in blocks:
                    copied += len(block)
                    with explained(path):
                        target.write(block)
        except FileNotFoundError as error:
            raise _DamagedError(f"{path.name} was removed while it was copied.") from error
        if copied != size:
            raise _DamagedError(f"{path.name} has {copied} bytes instead of {size}.")

    def _blocks(self, name: str) -> Generator[bytes]:
        """The bytes of an object. Raises FileNotFoundError if there is none."""
        with self._explained("cannot be read", unless=(FileNotFoundError,)):
            stream = self._system.open_input_stream(self._path(name))
        with stream:
            while True:
                with self._explained("cannot be read"):
                    block: bytes = stream.read(_COPIED_BYTES)
                if not block:
                    return
                yield block

    def _write(self, name: str, blocks: Iterator[bytes]) -> None:
        """Store an object as a whole."""
        path = self._path(name)
        with self._explained("cannot be written"):
            if self._system.type_name == _LOCAL:
                with files.atomic_writer(path) as target:
                    target.writelines(blocks)
                return
            written = path if self._system.type_name in _ATOMIC else f"{path}.{os.urandom(8).hex()}"
            if written != path:
                self._system.create_dir(written.rpartition("/")[0])
            with self._system.open_output_stream(written) as target:
                for block in blocks:
                    target.write(block)
            if written != path:
                if self._system.get_file_info(path).type != fs.FileType.NotFound:
                    self._system.delete_file(path)
                self._system.move(written, path)

    def _path(self, name: str) -> str:
        return f"{self._base}/{name}"

    @contextlib.contextmanager
    def _explained(self, what: str, *, unless: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        try:
            yield
        except unless:
            raise
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise CorpusError(f"{self}: {what} ({reason}). {_hint()}") from error


class _DamagedError(Exception):
    """A corpus in a store that is incomplete or damaged."""


def _hint() -> str:
    return f"Check the address, the permissions and the network; {_VARIABLE} names the store."


def _data_prefix(key: str, sidecar: bytes) -> str:
    return f"corpus/{key}/{hashlib.sha256(sidecar).hexdigest()[:32]}"


def _blocks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while block := stream.read(_COPIED_BYTES):
            yield block


def _verify(folder: Path, sidecar: Sidecar) -> None:
    try:
        ShardFile(folder / DATA_NAME, sidecar).verify_all()
    except CorpusError as error:
        raise _DamagedError(str(error)) from error
