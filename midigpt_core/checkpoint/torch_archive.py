"""The zip archives of ``torch.save`` and TorchScript, read as data.

Both contain ``data.pkl``, a pickle that describes a value and refers to storages ``data/0``, ``data/1``, … . They are
read without ``torch.load`` and ``torch.jit.load``: the description is interpreted
(:mod:`midigpt_core.checkpoint.pickle_data`), every storage and tensor is checked against the bytes that the file has,
and tensors are then read straight from it (:mod:`midigpt_core.checkpoint.archive_tensors`). So reading the header of a
bundle needs neither a tensor nor torch, and a single reader interprets the file.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from midigpt_core.checkpoint.pickle_data import MAX_PICKLE_BYTES, Global, Instance, RefusedPickleError, read
from midigpt_core.errors import CheckpointError
from midigpt_core.files import open_regular
from midigpt_core.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from io import BufferedIOBase, BufferedReader
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
_ITEM_SIZES = dict(_STORAGES.values())
#: TorchScript marks typed lists by a call.
_JIT_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")
_MAX_DIMENSIONS = 8
#: Limit of the zip's directory: some 10,000 entries; a 48-layer GPT-2 has 600 tensors.
_MAX_DIRECTORY_BYTES = 1 << 20
#: TorchScript of a 48-layer GPT-2 has some 0.3 MiB of text.
_MAX_PROGRAM_BYTES = 2 << 20
_END_RECORD = struct.Struct("<4s4H2LH")
_END_RECORD_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
#: Bits of an entry's flags that say it is encrypted, or a patch to another file.
_ENCRYPTED = 0x0001 | 0x0040
_PATCH = 0x0020
#: What ``zipfile`` raises for an archive that is damaged or that it cannot read; UnicodeDecodeError is a ValueError.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)
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

    @property
    def span(self) -> tuple[int, int]:
        """The first byte of the storage that it uses, and the byte after its last."""
        if 0 in self.shape:
            return 0, 0
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return self.offset * _ITEM_SIZES[self.dtype], (last + 1) * _ITEM_SIZES[self.dtype]


class TorchArchive:
    """An open archive; made by :func:`open_archive`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, stream: BufferedReader) -> None:
        self.path = path
        self._archive = archive
        self._stream = stream
        entries = archive.infolist()
        self._root = entries[0].filename.partition("/")[0] + "/" if entries else ""
        self._sizes = self._checked_sizes(entries)

    @property
    def is_torchscript(self) -> bool:
        """Whether the archive contains a program besides its data."""
        return any(name == "constants.pkl" or name.startswith("code/") for name in self._sizes)

    def describe(self) -> object:
        """The value in ``data.pkl``, with :class:`StoredTensor` for tensors and ``Instance`` for TorchScript modules.

        Raises :class:`midigpt_core.errors.CheckpointError` for a description that is damaged or contains code.
        """
        try:
            return read(self._record("data.pkl", MAX_PICKLE_BYTES), call=self._call, persistent=self._storage)
        except RefusedPickleError as error:
            raise CheckpointError(f"{self.path}: refused: {error}. Nothing in it was run. {_AGAIN}") from error

    def program_text(self) -> str:
        """The source of a TorchScript program, to be inspected, never run; empty if there is none."""
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
            said = repr(entry.filename[:80])
            if not entry.filename.startswith(self._root) or name in sizes:
                raise self._refused(f"its entry {said} is outside its folder or there twice")
            if entry.flag_bits & (_ENCRYPTED | _PATCH):
                raise self._refused(f"its entry {said} is encrypted, or a patch")
            # With other compression methods, a few bytes can become gigabytes at the first read.
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._refused(f"its entry {said} is compressed by method {entry.compress_type}")
            if name.startswith("data/") and entry.compress_type != zipfile.ZIP_STORED:
                raise self._refused(f"its entry {said} is compressed")
            if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
                raise self._refused(f"its entry {said} has two sizes")
            sizes[name] = entry.file_size
        self._check_places(entries)
        if "data.pkl" not in sizes:
            raise CheckpointError(f"{self.path}: a zip file without data.pkl, not one that torch.save wrote. {_AGAIN}")
        if "byteorder" in sizes and self._record("byteorder", 16) != b"little":
            raise self._refused("its numbers are big-endian")
        return sizes

    def _check_places(self, entries: list[zipfile.ZipInfo]) -> None:
        """Raise if entries overlap: otherwise a small file could describe more numbers than it contains."""
        reached, before = 0, ""
        for entry in sorted(entries, key=lambda entry: entry.header_offset):
            name = entry.filename[:80]
            if entry.header_offset < reached:
                raise self._refused(f"its entries {before!r} and {name!r} overlap")
            self._stream.seek(entry.header_offset)
            with self._damage_explained():
                *_, name_length, extra_length = _LOCAL_HEADER.unpack(self._stream.read(_LOCAL_HEADER.size))
            reached = entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length + entry.compress_size
            before = name
        if reached > self._archive.start_dir:
            raise self._refused(f"its entry {before!r} overlaps its list of entries")

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
        except _ZIP_ERRORS as error:
            raise CheckpointError(f"{self.path}: damaged ({printable(error, 120)}). {_AGAIN}") from error

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
        raise RefusedPickleError(f"it calls {str(target)[:80]!r}, which is not plain data")


@contextmanager
def open_archive(path: Path) -> Iterator[TorchArchive]:
    """The archive at ``path``; raises :class:`midigpt_core.errors.CheckpointError` if it is not a sound zip file,
    OSError if it cannot be opened or is not a regular file.
    """
    with open_regular(path) as stream:
        try:
            _check_directory(path, stream)
            archive = zipfile.ZipFile(stream)
        except _ZIP_ERRORS as error:
            raise CheckpointError(
                f"{path}: not a zip file as torch.save writes it, or cut short ({printable(error, 120)}). {_AGAIN}"
            ) from error
        with archive:
            yield TorchArchive(path, archive, stream)


def check_apart(path: Path, tensors: Mapping[str, StoredTensor], tied: Sequence[str] = ()) -> None:
    """Check that tensors do not share numbers; the ones named in ``tied`` may be the same tensor.

    Otherwise a file of megabytes could describe gigabytes. Raises :class:`midigpt_core.errors.CheckpointError`.
    """
    places: dict[str, list[tuple[int, int, str]]] = {}
    for name, tensor in tensors.items():
        if name in tied and any(tensors.get(other) == tensor for other in tied[: tied.index(name)]):
            continue
        steps = sorted((step, size) for size, step in zip(tensor.shape, tensor.stride, strict=True) if size > 1)
        reached = 0
        for step, size in steps:
            if step <= reached:
                raise CheckpointError(f"{path}: refused: numbers of its tensor {name[:80]!r} overlap. {_AGAIN}")
            reached += (size - 1) * step
        # By key alone: two storages of different types can be the same bytes.
        places.setdefault(tensor.storage.key, []).append((*tensor.span, name))
    for spans in places.values():
        for (_, end, before), (start, _, name) in pairwise(sorted(spans)):
            if start < end:
                raise CheckpointError(
                    f"{path}: refused: its tensors {before[:80]!r} and {name[:80]!r} share numbers. {_AGAIN}"
                )


def _check_directory(path: Path, stream: BufferedReader) -> None:
    """Refuse a zip whose list of entries is too large, before ``zipfile`` reads all of it.

    Readers look for the list in different places, so it must be where all of them agree: the archive ends with it and
    the records that point to it, as torch and zipfile write them.
    """
    end = os.fstat(stream.fileno()).st_size - _END_RECORD.size
    signature, *_, size, start, comment = _record_at(stream, end, _END_RECORD)
    if signature != b"PK\x05\x06" or comment:
        raise zipfile.BadZipFile("no end record at its end")
    locator_at = end - _LOCATOR_64.size
    if locator_at >= 0:
        signature, _, record_at, _ = _record_at(stream, locator_at, _LOCATOR_64)
        if signature == b"PK\x06\x07":
            end = locator_at - _END_RECORD_64.size
            if record_at != end:
                raise zipfile.BadZipFile("its end record is not where its locator says")
            signature, *_, size, start = _record_at(stream, end, _END_RECORD_64)
            if signature != b"PK\x06\x06":
                raise zipfile.BadZipFile("no end record at its end")
    if size > _MAX_DIRECTORY_BYTES:
        raise CheckpointError(
            f"{path}: refused: its list of entries takes {size} bytes, the limit is {_MAX_DIRECTORY_BYTES}. {_AGAIN}"
        )
    if start + size != end:
        raise zipfile.BadZipFile("its list of entries is not at its end")


def _record_at(stream: BufferedReader, place: int, record: struct.Struct) -> tuple[Any, ...]:
    if place < 0:
        raise zipfile.BadZipFile("no end record at its end")
    stream.seek(place)
    return record.unpack(stream.read(record.size))


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
