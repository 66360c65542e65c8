"""The entries of a zip's or a tar's directory, in the order of their bytes."""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
import zlib
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from midigpt_core.archives.content import GZIP, RAW_DEFLATE, BudgetError, ContentStream, Inflated, Part
from midigpt_core.archives.kinds import ArchiveKind
from midigpt_core.archives.reasons import BROKEN_LINK, DAMAGED_ARCHIVE, DAMAGED_MEMBER, ENCRYPTED, UNSUPPORTED_MEMBER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from midigpt_core.archives.content import Budget, Content, CursorPool

#: What the readers of directories and of deflated bytes raise for damage.
DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, ValueError, IndexError, KeyError,
    NotImplementedError,
)  # fmt: skip

_LOCAL_HEADER = 30
_LOCAL_MAGIC = b"PK\x03\x04"
_NAME_LENGTH, _EXTRA_LENGTH = slice(26, 28), slice(28, 30)
# Of a local header's extra fields: more of them take a second read.
_USUAL_EXTRA = 64
_IS_ENCRYPTED = 0x1 | 0x40 | 0x2000
_STORED, _DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
# A tar's headers are 512 bytes; long names and other fields may follow.
_MOST_TAR_HEADER = 1 << 20
_TAR_BLOCK = 512
# Links one after another that lead to a file.
_MOST_HOPS = 8


class MemberError(Exception):
    """A file of an archive that cannot be read, for one of :mod:`midigpt_core.archives.reasons`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@frozen(eq=False)
class ZipEntry:
    """A file in a zip."""

    name: str
    content: Content
    position: int
    stored: int
    size: int
    crc: int
    is_deflated: bool

    def read(self, most: int) -> bytes:
        """Its first ``most`` bytes. Raises :class:`MemberError`."""
        try:
            # Deflating makes nothing longer by more than that.
            needed = min(self.stored, most + (most >> 8) + 1024)
            head = self.content.read_at(self.position, _LOCAL_HEADER + len(self.name) + _USUAL_EXTRA + needed)
            start = _data_start(head)
            data = head[start : start + needed]
            if len(data) < needed:
                data += self.content.read_at(self.position + start + len(data), needed - len(data))
            if self.is_deflated:
                inflater = zlib.decompressobj(RAW_DEFLATE)
                data = inflater.decompress(data, most)
            else:
                data = data[:most]
        except (*DAMAGE, BudgetError) as error:
            raise MemberError(DAMAGED_MEMBER) from error
        if len(data) != min(self.size, most) or (self.size <= most and zlib.crc32(data) != self.crc):
            raise MemberError(DAMAGED_MEMBER)
        return data

    def open(self, budget: Budget, pool: CursorPool) -> tuple[Content, int]:
        """Its bytes, for an archive in it, and how many they are."""
        start = _data_start(self.content.read_at(self.position, _LOCAL_HEADER))
        part = Part(self.content, self.position + start, self.stored)
        return (Inflated(part, RAW_DEFLATE, budget, pool) if self.is_deflated else part), self.size


@frozen(eq=False)
class TarEntry:
    """A file in a tar."""

    name: str
    content: Content
    position: int
    size: int

    def read(self, most: int) -> bytes:
        """Its first ``most`` bytes. Raises :class:`MemberError`."""
        try:
            data = self.content.read_at(self.position, min(self.size, most))
        except (*DAMAGE, BudgetError) as error:
            raise MemberError(DAMAGED_MEMBER) from error
        if len(data) != min(self.size, most):
            raise MemberError(DAMAGED_MEMBER)
        return data

    def open(self, _budget: Budget, _pool: CursorPool) -> tuple[Content, int]:
        """Its bytes, for an archive in it, and how many they are."""
        return Part(self.content, self.position, self.size), self.size


@frozen
class BadEntry:
    """An entry that cannot be read."""

    name: str
    reason: str


def entries(
    kind: ArchiveKind, content: Content, size: int, budget: Budget, pool: CursorPool
) -> Iterator[ZipEntry | TarEntry | BadEntry]:
    """Raises one of :data:`DAMAGE` where the directory cannot be read, :class:`BudgetError` if it is too large."""
    if kind is ArchiveKind.ZIP:
        return _zip_entries(content, size, budget)
    if kind is ArchiveKind.TAR_GZ:
        return _tar_entries(Inflated(content, GZIP, budget, pool), None, budget)
    return _tar_entries(content, size, budget)


def _zip_entries(content: Content, size: int, budget: Budget) -> Iterator[ZipEntry | BadEntry]:
    stream = ContentStream(content, size, most_at_once=budget.directories)
    with zipfile.ZipFile(stream) as archive:
        found = sorted(archive.infolist(), key=lambda info: info.header_offset)
    budget.spend(directories=stream.bytes_read)
    ends = [info.header_offset for info in found[1:]] + [size]
    for info, end in zip(found, ends, strict=True):
        if info.is_dir():
            continue
        if info.flag_bits & _IS_ENCRYPTED:
            yield BadEntry(info.filename, ENCRYPTED)
        elif info.compress_type not in (_STORED, _DEFLATED):
            yield BadEntry(info.filename, UNSUPPORTED_MEMBER)
        elif info.header_offset < 0 or info.header_offset + _LOCAL_HEADER + info.compress_size > end:
            yield BadEntry(info.filename, DAMAGED_MEMBER)
        else:
            yield ZipEntry(
                info.filename, content, info.header_offset, info.compress_size, info.file_size, info.CRC,
                info.compress_type == _DEFLATED,
            )  # fmt: skip


def _tar_entries(content: Content, size: int | None, budget: Budget) -> Iterator[TarEntry | BadEntry]:
    stream = ContentStream(content, size, most_at_once=_MOST_TAR_HEADER)
    files: dict[str, TarEntry] = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        while (info := archive.next()) is not None:
            # It keeps all of them otherwise.
            archive.members.clear()  # type: ignore[attr-defined]
            if info.isdir():
                continue
            if info.issym() or info.islnk():
                budget.spend(directories=len(info.name) + len(info.linkname))
                # The target of a hard link is named from the archive's root.
                folder = posixpath.dirname(info.name) if info.issym() else ""
                links[info.name] = posixpath.join(folder, info.linkname)
            elif not info.isreg() or info.issparse():
                yield BadEntry(info.name, UNSUPPORTED_MEMBER)
            else:
                entry = TarEntry(info.name, content, info.offset_data, info.size)
                files[posixpath.normpath(info.name)] = entry
                yield entry
        yield from _linked(links, files)
        # It ends without an error at a damaged header too.
        if content.read_at(archive.offset, _TAR_BLOCK) != bytes(_TAR_BLOCK):
            yield BadEntry("", DAMAGED_ARCHIVE)


def _linked(links: dict[str, str], files: dict[str, TarEntry]) -> Iterator[TarEntry | BadEntry]:
    """What links lead to, under the links' names; ``links`` and ``files`` by name, of the archive that they are in."""
    targets = {posixpath.normpath(name): posixpath.normpath(target) for name, target in links.items()}
    for name in links:
        place = targets[posixpath.normpath(name)]
        hops = 1
        while place not in files and place in targets and hops < _MOST_HOPS:
            place = targets[place]
            hops += 1
        yield evolve(files[place], name=name) if place in files else BadEntry(name, BROKEN_LINK)


def _data_start(header: bytes) -> int:
    if header[:4] != _LOCAL_MAGIC or len(header) < _LOCAL_HEADER:
        raise ValueError("no local header")
    lengths = (int.from_bytes(header[field], "little") for field in (_NAME_LENGTH, _EXTRA_LENGTH))
    return _LOCAL_HEADER + sum(lengths)
