"""The entries of a zip's or a tar's directory, in the order of their bytes."""

from __future__ import annotations

import bisect
import posixpath
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from attrs import define, evolve, field, frozen

from midigpt_core.archives.content import GZIP, RAW_DEFLATE, BudgetError, ContentStream, Inflated, Part
from midigpt_core.archives.kinds import ArchiveKind
from midigpt_core.archives.reasons import BROKEN_LINK, DAMAGED_ARCHIVE, DAMAGED_MEMBER, ENCRYPTED, UNSUPPORTED_MEMBER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeGuard

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
# Links one after another that lead to a file, and characters of a path with links.
_MOST_HOPS = 8
_MOST_LINK_PATH = 1024
# Of the budget for directories, in addition to the characters of a name that is looked up.
_LOOK_UP = 16


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
                # The target of a hard link is named from the archive's root. So is an absolute path.
                folder = posixpath.dirname(info.name) if info.issym() else ""
                links[info.name] = posixpath.join(folder, info.linkname)
            elif not info.isreg() or info.issparse():
                yield BadEntry(info.name, UNSUPPORTED_MEMBER)
            else:
                entry = TarEntry(info.name, content, info.offset_data, info.size)
                files[_plain(info.name)] = entry
                yield entry
        yield from _linked(links, files, budget)
        # It ends without an error at a damaged header too.
        if content.read_at(archive.offset, _TAR_BLOCK) != bytes(_TAR_BLOCK):
            yield BadEntry("", DAMAGED_ARCHIVE)


@frozen
class _Place:
    """What a path leads to."""

    #: The file or folder, without links in its path; empty: the archive's root.
    name: str
    #: How many links one after another lead there.
    hops: int


@define(eq=False)
class _Links:
    """Where the paths of a tar lead, as if it were extracted."""

    #: By name, see :func:`_plain`.
    files: dict[str, TarEntry]
    #: The path that each link names, from the archive's root.
    targets: dict[str, str]
    budget: Budget
    #: By path: of links, and of the folders in paths.
    _places: dict[str, _Place] = field(init=False, factory=dict)

    def place(self, path: str) -> str | None:
        """The name of the file or folder that ``path`` leads to, without links in it; empty: the archive's root. None:
        it leads out of the archive, or through too many links. Raises :class:`BudgetError`."""
        found = self._follow(path, 0)
        return None if found is None else found.name

    def _follow(self, path: str, hops: int) -> _Place | None:
        if len(path) > _MOST_LINK_PATH:
            return None
        folder, _, last = path.rpartition("/")
        found = self._folder(folder, hops)
        return None if found is None else self._step(found, last, hops)

    def _folder(self, path: str, hops: int) -> _Place | None:
        """The place of a folder, which many paths share."""
        found = self._places.get(path)
        if found is None:
            found = _Place("", 0)
            for part in path.split("/"):
                self.budget.spend(directories=_LOOK_UP + len(found.name))
                found = self._step(found, part, hops)
                if found is None:
                    return None
            self._places[path] = found
        return found if hops + found.hops <= _MOST_HOPS else None

    def _step(self, folder: _Place, part: str, hops: int) -> _Place | None:
        """The place of ``part`` in a folder without links in its path."""
        if part in ("", "."):
            return folder
        if part == "..":
            return _Place(posixpath.dirname(folder.name), folder.hops) if folder.name else None
        name = f"{folder.name}/{part}" if folder.name else part
        if len(name) > _MOST_LINK_PATH:
            return None
        if name in self.files or name not in self.targets:
            return _Place(name, folder.hops)
        place = self._places.get(name)
        if place is None and hops < _MOST_HOPS:
            target = self.targets[name]
            self.budget.spend(directories=_LOOK_UP + len(target))
            followed = self._follow(target, hops + 1)
            if followed is not None:
                place = self._places[name] = _Place(followed.name, followed.hops + 1)
        if place is None or hops + place.hops > _MOST_HOPS:
            return None
        return _Place(place.name, max(folder.hops, place.hops))


def _linked(links: dict[str, str], files: dict[str, TarEntry], budget: Budget) -> Iterator[TarEntry | BadEntry]:
    """What links lead to, under the links' names; ``links`` and ``files`` by name, of the archive that they are in."""
    if not links:
        return
    found = _Links(files, {_plain(name): target for name, target in links.items()}, budget)
    names = sorted({*files, *found.targets})
    folders: list[tuple[str, str]] = []
    for name in links:
        place = found.place(name)
        if place in files:
            yield evolve(files[place], name=name)
        elif not _is_folder(place, names):
            yield BadEntry(name, BROKEN_LINK)
        elif not is_hidden(name):
            folders.append((name, place))
    # The files of a linked folder are listed under their own names. Those with a hidden one are not: each of them is
    # given once, under the first link.
    hidden = [name for name in names if is_hidden(name)] if folders else []
    seen: set[str] = set()
    for link, folder in folders:
        if folder in seen:
            continue
        seen.add(folder)
        for name in _below(folder, hidden):
            budget.spend(directories=_LOOK_UP + len(link) + len(name))
            inside = name[len(folder) :].lstrip("/")
            if name in seen or is_hidden(inside):
                continue
            place = found.place(name)
            if place in seen:
                continue
            seen.add(name)
            if place in files and is_hidden(place):
                seen.add(place)
                yield evolve(files[place], name=f"{link}/{inside}")
            elif _is_folder(place, names):
                # Goes through the folders that are linked in this one, too.
                folders.append((f"{link}/{inside}", place))
            elif place not in files:
                yield BadEntry(f"{link}/{inside}", BROKEN_LINK)


def _is_folder(place: str | None, names: Sequence[str]) -> TypeGuard[str]:
    return place is not None and next(_below(place, names), None) is not None


def _below(folder: str, names: Sequence[str]) -> Iterator[str]:
    """Which of ``names``, ascending, are in a folder."""
    start = f"{folder}/" if folder else ""
    for index in range(bisect.bisect_left(names, start), len(names)):
        if not names[index].startswith(start):
            return
        yield names[index]


def _plain(name: str) -> str:
    """The name of a tar's file, from the archive's root."""
    return posixpath.normpath(name).lstrip("/")


def name_parts(name: str) -> list[str]:
    """The folders and the name of a file in an archive. Nothing is extracted, so a path that leads out of the archive
    is only a name."""
    return [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "//", "..")]


def is_hidden(name: str) -> bool:
    """Whether a listing leaves out a file of this name."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name_parts(name))


def _data_start(header: bytes) -> int:
    if header[:4] != _LOCAL_MAGIC or len(header) < _LOCAL_HEADER:
        raise ValueError("no local header")
    lengths = (int.from_bytes(header[field], "little") for field in (_NAME_LENGTH, _EXTRA_LENGTH))
    return _LOCAL_HEADER + sum(lengths)
