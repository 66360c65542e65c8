"""The zip archives of ``torch.save`` and TorchScript, read as data.

Both hold ``data.pkl``, a pickle that describes a value and refers to storages ``data/0``, ``data/1``, … . Neither
``torch.load`` nor ``torch.jit.load`` takes part: the description is interpreted
(:mod:`midigpt_core.checkpoint.pickle_data`), every storage and tensor is checked against the bytes that the file has,
and tensors are then read straight from it (:mod:`midigpt_core.checkpoint.archive_tensors`). So the header of a bundle
costs neither a tensor nor torch, and one reader alone decides what a file says.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from midigpt_core.checkpoint.pickle_data import MAX_PICKLE_BYTES, Global, Instance, RefusedPickleError, read
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase
    from pathlib import Path

#: Classes of storages: the dtype's name in torch, and the bytes of one number.
_STORAGES = {
    "DoubleStorage": ("float64", 8),
    "FloatStorage": ("float32", 4),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}
#: TorchScript marks typed lists by a call.
_JIT_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
_MAX_DIMENSIONS = 8
#: Of the zip's directory: some 40,000 entries, where a 48-layer GPT-2 has 600 tensors.
_MAX_DIRECTORY_BYTES = 4 << 20
#: TorchScript of a 48-layer GPT-2 has some 0.3 MiB of text.
_MAX_PROGRAM_BYTES = 8 << 20
_END_RECORD = struct.Struct("<4s4H2LH")
_END_RECORD_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_AGAIN = "Copy the file again from where it came, or choose another."


@frozen
class StoredStorage:
    """A run of ``numel`` numbers in the file."""

    key: str
    #: The dtype's name in torch.
    dtype: str
    numel: int


@frozen
class StoredTensor:
    """A tensor in the file: a view of a storage, checked to lie within it."""

    storage: StoredStorage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def dtype(self) -> str:
        return self.storage.dtype


class TorchArchive:
    """An open archive; made by :func:`open_archive`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive
        entries = archive.infolist()
        self._root = entries[0].filename.partition("/")[0] + "/" if entries else ""
        self._sizes = self._checked_sizes(entries)

    @property
    def is_torchscript(self) -> bool:
        """Whether the archive holds a program beside its data."""
        return any(name == "constants.pkl" or name.startswith("code/") for name in self._sizes)

    def describe(self) -> object:
        """The value in ``data.pkl``, with :class:`StoredTensor` for tensors and ``Instance`` for TorchScript modules.

        Raises :class:`midigpt_core.errors.CheckpointError` for a description that is damaged or asks for code.
        """
        try:
            return read(self._record("data.pkl", MAX_PICKLE_BYTES), call=self._call, persistent=self._storage)
        except RefusedPickleError as error:
            raise CheckpointError(f"{self.path}: refused: {error}. Nothing in it was run. {_AGAIN}") from error

    def program_text(self) -> str:
        """The source of a TorchScript program, to be looked at, never run; empty if there is none."""
        names = [name for name in self._sizes if name.startswith("code/") and name.endswith(".py")]
        if sum(self._sizes[name] for name in names) > _MAX_PROGRAM_BYTES:
            raise self._refused(f"its program is longer than {_MAX_PROGRAM_BYTES} bytes")
        return "\n".join(self._record(name, _MAX_PROGRAM_BYTES).decode(errors="replace") for name in names)

    def read_storage(self, storage: StoredStorage, target: memoryview) -> None:
        """Fill ``target``, as long as the storage in bytes; raises :class:`midigpt_core.errors.CheckpointError`."""
        name = f"data/{storage.key}"
        if not target.nbytes:
            return
        with self._damage_explained(), self._archive.open(self._root + name) as stream:
            if cast("BufferedIOBase", stream).readinto(target) != target.nbytes:
                raise self._refused(f"its entry {name!r} is cut short")

    def _checked_sizes(self, entries: list[zipfile.ZipInfo]) -> dict[str, int]:
        """Bytes of each entry by its name within the archive's root folder."""
        sizes: dict[str, int] = {}
        for entry in entries:
            name = entry.filename.removeprefix(self._root)
            if not entry.filename.startswith(self._root) or name in sizes:
                raise self._refused(f"its entry {entry.filename!r} is outside its folder or there twice")
            if name.startswith("data/") and entry.compress_type != zipfile.ZIP_STORED:
                raise self._refused(f"its entry {entry.filename!r} is compressed")
            sizes[name] = entry.file_size
        if sum(size for name, size in sizes.items() if name.startswith("data/")) > self.path.stat().st_size:
            raise self._refused("its entries are larger than the file")
        if "data.pkl" not in sizes:
            raise CheckpointError(f"{self.path}: a zip file without data.pkl, not one that torch.save wrote. {_AGAIN}")
        if "byteorder" in sizes and self._record("byteorder", 16) != b"little":
            raise self._refused("its numbers are big-endian")
        return sizes

    def _record(self, name: str, limit: int) -> bytes:
        with self._damage_explained(), self._archive.open(self._root + name) as stream:
            content = stream.read(limit + 1)
        if len(content) > limit:
            raise self._refused(f"its entry {name!r} is longer than {limit} bytes")
        return content

    @contextmanager
    def _damage_explained(self) -> Iterator[None]:
        try:
            yield
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"{self.path}: damaged ({error}). {_AGAIN}") from error

    def _refused(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.path}: refused: {what}. {_AGAIN}")

    def _storage(self, identity: object) -> StoredStorage:
        match identity:
            case ("storage", Global(module="torch", name=kind), str(key), str(), int(numel)) if kind in _STORAGES:
                dtype, itemsize = _STORAGES[kind]
                storage = StoredStorage(key, dtype, numel)
            case _:
                raise RefusedPickleError("it refers to a storage that torch.save does not write")
        size = self._sizes.get(f"data/{key}")
        if size is None or numel < 0 or numel * itemsize != size:
            raise RefusedPickleError(f"storage {key[:40]!r} should have {numel} numbers, the file has {size} bytes")
        return storage

    def _call(self, target: Global, arguments: tuple[Any, ...]) -> object:
        """The value of a call that the description makes, for the few names that saved tensors and modules need."""
        match (target.module, target.name), arguments:
            case ("collections", "OrderedDict"), ():
                return {}
            case ("torch._utils", "_rebuild_tensor_v2"), (StoredStorage() as storage, offset, shape, stride, *_):
                return _checked_tensor(storage, offset, shape, stride)
            case ("torch._utils", "_rebuild_parameter"), (StoredTensor() as tensor, *_):
                return tensor
        if self.is_torchscript:
            if target.module == "torch.jit._pickle" and target.name in _JIT_LISTS and len(arguments) == 1:
                return arguments[0]
            if target.module.split(".")[0] == "__torch__":
                return Instance(target)
        raise RefusedPickleError(f"it wants to call {str(target)[:80]!r}, which is not plain data")


@contextmanager
def open_archive(path: Path) -> Iterator[TorchArchive]:
    """The archive at ``path``; raises :class:`midigpt_core.errors.CheckpointError` if it is no sound zip file."""
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            yield TorchArchive(path, archive)
    except (zipfile.BadZipFile, struct.error) as error:
        raise CheckpointError(
            f"{path}: not a zip file as torch.save writes it, or cut short ({error}). {_AGAIN}"
        ) from error


def _check_directory(path: Path) -> None:
    """Refuse a zip whose directory is too large, before ``zipfile`` reads all of it."""
    with path.open("rb") as stream:
        length = stream.seek(0, 2)
        tail_start = max(0, length - _END_RECORD.size - 0xFFFF)
        stream.seek(tail_start)
        tail = stream.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0:
            raise zipfile.BadZipFile("no end record")
        size = _END_RECORD.unpack_from(tail, at)[5]
        if at >= _LOCATOR_64.size and tail[at - _LOCATOR_64.size :].startswith(b"PK\x06\x07"):
            stream.seek(_LOCATOR_64.unpack_from(tail, at - _LOCATOR_64.size)[2])
            size = max(size if size != 0xFFFFFFFF else 0, _END_RECORD_64.unpack(stream.read(_END_RECORD_64.size))[8])
    if size > _MAX_DIRECTORY_BYTES:
        raise CheckpointError(
            f"{path}: refused: its list of entries takes {size} bytes, the limit is {_MAX_DIRECTORY_BYTES}. {_AGAIN}"
        )


def _checked_tensor(storage: StoredStorage, offset: object, shape: object, stride: object) -> StoredTensor:
    sizes, steps = _natural_numbers(shape), _natural_numbers(stride)
    if type(offset) is not int or offset < 0 or len(sizes) != len(steps):
        raise RefusedPickleError("it has a tensor without a proper shape")
    numel = 1
    for size in sizes:
        numel *= size
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    # More elements than the storage has would mean a stride of 0: a small file that becomes a huge tensor.
    if numel and (last >= storage.numel or numel > storage.numel):
        raise RefusedPickleError(f"it has a tensor of shape {sizes} that is larger than its storage")
    return StoredTensor(storage, offset if numel else 0, sizes, steps)


def _natural_numbers(value: object) -> tuple[int, ...]:
    if (
        type(value) is not tuple
        or len(value) > _MAX_DIMENSIONS
        or not all(type(item) is int and 0 <= item < 1 << 48 for item in value)
    ):
        raise RefusedPickleError("it has a tensor without a proper shape")
    return value
