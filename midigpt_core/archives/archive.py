"""An archive file, and the listing of what is in it and in the archives inside it.

Every file in it is read on its own, in any order and from several threads. A file that cannot be read is a
:class:`Problem` or raises :class:`~midigpt_core.archives.MemberError`; it never costs the others. What a listing may
take is bounded by the size of the archive file (:func:`_budget`), and each file is read up to a limit, so no archive,
however made, fills the memory or runs for long.
"""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from midigpt_core.archives.content import Budget, BudgetError, CursorPool, FileContent
from midigpt_core.archives.entries import DAMAGE, BadEntry, TarEntry, ZipEntry, entries, is_hidden, name_parts
from midigpt_core.archives.kinds import HEAD_BYTES, ArchiveKind, kind_of, kind_of_name
from midigpt_core.archives.reasons import ARCHIVE_BOMB, ARCHIVE_TOO_DEEP, DAMAGED_ARCHIVE
from midigpt_core.errors import readable_name
from midigpt_core.files import FileState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path
    from typing import Any

    from midigpt_core.archives.content import Content

#: Archives inside one another, the file itself included.
MOST_LEVELS = 4
#: Files that a listing gives: as many as a parquet file may have rows.
MOST_MEMBERS = 16 << 20
MOST_ARCHIVES = 1 << 16
#: While the archives inside it are listed, an archive may inflate to this many times its size.
MOST_EXPANSION = 200
#: In addition, for small archives.
SPARE_BYTES = 16 << 20
# Characters of a name.
_MOST_NAME = 4 << 10


@frozen(eq=False)
class Member:
    """A file in an archive, or in an archive inside it."""

    #: Where it is, with the names of the archives inside as folders: ``"inner.zip/a.mid"``.
    name: str
    _entry: ZipEntry | TarEntry

    def read(self, most: int) -> bytes:
        """Its first ``most`` bytes, while the archive is open. Raises
        :class:`~midigpt_core.archives.MemberError` with the reason."""
        return self._entry.read(most)


@frozen
class Problem:
    """A file or archive in an archive that cannot be read."""

    #: As in :class:`Member`; empty for the archive file itself.
    name: str
    #: One of :mod:`midigpt_core.archives.reasons`.
    reason: str


@frozen(eq=False)
class Listing:
    """What is in an archive, in the order of its bytes."""

    #: Files to read, and what cannot be read, together.
    found: list[Member | Problem]
    #: How many files of other kinds there are, by suffix in lower case (``""`` without one).
    skipped: Counter[str]


@define(eq=False)
class Archive:
    """An archive file. It is open only within :meth:`opened`."""

    path: Path
    #: How the file's bytes are hashed (:attr:`midigpt_core.contracts.SourceContext.hash_file`).
    _hash_file: Callable[[Path], str]
    _content: FileContent = field(init=False)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)
    #: The file's state when it was listed.
    _listed: FileState | None = field(init=False, default=None)
    #: The hash with the file's state, and whether it was computed after members were read.
    _hashed: tuple[FileState, str, bool] | None = field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._content = FileContent(self.path)

    def __getstate__(self) -> dict[str, Any]:
        # Members share the file's content, which is sent with them.
        return {name: getattr(self, name) for name in ("path", "_hash_file", "_content", "_listed", "_hashed")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._lock = threading.Lock()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the file open. Raises OSError if it cannot be opened."""
        with self._content.opened():
            yield

    def content_hash(self, *, after_reading: bool = False) -> str:
        """The hash of the file. One of the calls ``after_reading`` hashes it again if the hash was remembered from an
        earlier run. Raises OSError."""
        with self._lock:
            state = FileState.of(self.path)
            if self._hashed is None or self._hashed[0] != state or (after_reading and not self._hashed[2]):
                self._hashed = state, self._hash_file(self.path), after_reading
            return self._hashed[1]

    def check_unchanged(self) -> None:
        """Raise :class:`midigpt_core.errors.DataError` if the file changed since it was listed: a member that looks
        damaged may then be whole."""
        if self._listed is not None:
            self._listed.check(self.path)

    def listing(self, suffixes: Collection[str]) -> Listing:
        """The files with one of ``suffixes`` (lower case, with the dot), also in archives inside this one.

        Names of which a part starts with a dot, or is ``__MACOSX``, are left out. Raises OSError if the file cannot be
        opened.
        """
        lister = _Lister(frozenset(suffixes))
        with self.opened():
            self._listed = FileState.of(self.path)
            size = self._content.size
            lister.budget = _budget(size)
            head = self._content.read_at(0, HEAD_BYTES)
            kind = kind_of(head) or kind_of_name(self.path.name) or ArchiveKind.ZIP
            lister.walk(kind, self._content, size, "", 1)
        return Listing(lister.found, lister.skipped)


def is_archive(path: Path) -> bool:
    """Whether a file is an archive by its name or first bytes. Raises OSError."""
    if kind_of_name(path.name) is not None:
        return True
    content = FileContent(path)
    with content.opened():
        return kind_of(content.read_at(0, HEAD_BYTES)) is not None


def _budget(size: int) -> Budget:
    """What listing a file of ``size`` bytes may take."""
    return Budget(
        inflated=SPARE_BYTES + MOST_EXPANSION * size,
        directories=SPARE_BYTES + size,
        members=MOST_MEMBERS,
        archives=MOST_ARCHIVES,
    )


@define(eq=False)
class _Lister:
    """Walks an archive and those inside it."""

    suffixes: frozenset[str]
    found: list[Member | Problem] = field(factory=list)
    skipped: Counter[str] = field(factory=Counter)
    budget: Budget = field(factory=lambda: _budget(0))
    pool: CursorPool = field(factory=CursorPool)

    def walk(self, kind: ArchiveKind, content: Content, size: int, name: str, level: int) -> None:
        """List one archive, called ``name``; what is wrong becomes problems."""
        if level > MOST_LEVELS:
            self._add(Problem(name, ARCHIVE_TOO_DEEP))
            return
        try:
            self.budget.spend(archives=1)
            for entry in entries(kind, content, size, self.budget, self.pool):
                self._take(entry, f"{name}/" if name else "", level)
        except BudgetError:
            self.found.append(Problem(name, ARCHIVE_BOMB))
        except DAMAGE:
            self._add(Problem(name, DAMAGED_ARCHIVE))

    def _take(self, entry: ZipEntry | TarEntry | BadEntry, prefix: str, level: int) -> None:
        if is_hidden(entry.name):
            return
        parts = name_parts(entry.name)
        path = PurePosixPath(*parts)
        name = readable_name(f"{prefix}{path}")[:_MOST_NAME] if parts else prefix.rstrip("/")
        kind = kind_of_name(entry.name)
        if kind is None and path.suffix.lower() not in self.suffixes and parts:
            self.skipped[path.suffix.lower()] += 1
        elif isinstance(entry, BadEntry):
            self._add(Problem(name, entry.reason))
        elif kind is None:
            self._add(Member(name, entry))
        else:
            try:
                content, size = entry.open(self.budget, self.pool)
            except DAMAGE:
                # Of this archive alone: those behind it in the outer one are listed.
                self._add(Problem(name, DAMAGED_ARCHIVE))
                return
            self.walk(kind, content, size, name, level + 1)

    def _add(self, found: Member | Problem) -> None:
        self.budget.spend(members=1)
        self.found.append(found)
