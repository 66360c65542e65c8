"""Random access to the bytes of a file, of a part of it, or of a deflated part, without writing anything to the disk.

A deflated archive inside an archive can only be read from its start. So its first pass keeps copies of the inflater's
state, some 40 KB each, at most :data:`_MOST_POINTS` of them; later reads start at the nearest one, or go on where an
earlier read ended.
"""

from __future__ import annotations

import bisect
import io
import os
import threading
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from attrs import define, field

from midigpt_core.files import open_regular
from midigpt_core.system.handles import read_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

#: ``wbits`` of zlib for a zip's members and for gzip.
RAW_DEFLATE, GZIP = -15, 31

_GZIP_MAGIC = b"\x1f\x8b"
# Deflate expands at most 1,032 times: one piece inflates to 17 MB at most.
_PIECE_BYTES = 16 << 10
# Inflating this much takes some 10 ms.
_POINT_BYTES = 4 << 20
_MOST_POINTS = 64
# Of one file, so that shards that are read at the same time each go on where they are.
_MOST_CURSORS = 32


class BudgetError(Exception):
    """An archive inflates, or lists, more than an archive of its size may."""


class Content(Protocol):
    """Bytes that can be read from any position; safe to use from several threads."""

    def read_at(self, position: int, count: int) -> bytes:
        """At most ``count`` bytes; fewer only at the end. Raises OSError or zlib.error for bytes that cannot be read,
        :class:`BudgetError` for too many."""


@define
class Budget:
    """What listing one archive and all archives inside it may take."""

    #: Bytes that archives inside it may inflate to.
    inflated: int
    #: Bytes of the directories of all of them.
    directories: int
    #: Files and archives.
    members: int
    archives: int

    def spend(self, **amounts: int) -> None:
        """Raises :class:`BudgetError` if nothing is left."""
        for name, amount in amounts.items():
            setattr(self, name, getattr(self, name) - amount)
            if getattr(self, name) < 0:
                raise BudgetError(name)


@define(eq=False)
class FileContent:
    """A file; read it within :meth:`opened`."""

    path: Path
    _users: int = field(init=False, default=0)
    _stream: io.BufferedReader | None = field(init=False, default=None)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        return FileContent, (self.path,)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the file open; the last of several users closes it. Raises OSError."""
        with self._lock:
            if self._stream is None:
                self._stream = open_regular(self.path)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._stream.close()
                    self._stream = None

    @property
    def size(self) -> int:
        return os.fstat(self._file().fileno()).st_size

    def read_at(self, position: int, count: int) -> bytes:
        pieces = []
        while count > 0 and (piece := read_at(self._file().fileno(), count, position)):
            pieces.append(piece)
            position += len(piece)
            count -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _file(self) -> io.BufferedReader:
        if self._stream is None:
            raise ValueError(f"{self.path} is not open")
        return self._stream


@define(eq=False)
class Part:
    """``size`` bytes of other content from ``start`` on."""

    content: Content
    start: int
    size: int

    def read_at(self, position: int, count: int) -> bytes:
        return self.content.read_at(self.start + position, max(0, min(count, self.size - position)))


@define
class _Cursor:
    """An inflater, and the bytes that it gave last."""

    inflater: Any
    #: Position in the deflated bytes.
    at: int
    #: Position behind the last inflated byte.
    end: int
    last: bytes = b""
    finished: bool = False


@define(eq=False)
class CursorPool:
    """The inflaters that were used last, of all deflated archives inside one file."""

    _cursors: list[tuple[Inflated, _Cursor]] = field(init=False, factory=list)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        return CursorPool, ()

    def take(self, owner: Inflated, first: int, last: int) -> _Cursor | None:
        """The furthest of ``owner``'s cursors whose bytes begin between these positions; the caller then owns it."""
        with self._lock:
            found = [
                pair for pair in self._cursors if pair[0] is owner and first <= pair[1].end - len(pair[1].last) <= last
            ]
            if not found:
                return None
            chosen = max(found, key=lambda pair: pair[1].end)
            self._cursors = [pair for pair in self._cursors if pair is not chosen]
            return chosen[1]

    def put(self, owner: Inflated, cursor: _Cursor) -> None:
        with self._lock:
            self._cursors = [*self._cursors[1 - _MOST_CURSORS :], (owner, cursor)]


@define(eq=False)
class Inflated:
    """The inflated bytes of deflated ``content``; :data:`GZIP` may have several members."""

    content: Content
    wbits: int
    budget: Budget
    pool: CursorPool
    _points: list[_Cursor] = field(init=False, factory=list)
    _spacing: int = field(init=False, default=_POINT_BYTES)
    #: How far it was inflated.
    _furthest: int = field(init=False, default=0)
    _lock: threading.Lock = field(init=False, factory=threading.Lock)

    def __reduce__(self) -> tuple[Any, ...]:
        # Inflaters cannot be sent to another process.
        return Inflated, (self.content, self.wbits, self.budget, self.pool)

    def read_at(self, position: int, count: int) -> bytes:
        with self._lock:
            cursor = self._cursor_before(position)
            pieces = []
            while count > 0:
                start = cursor.end - len(cursor.last)
                piece = cursor.last[position - start : position - start + count]
                pieces.append(piece)
                position += len(piece)
                count -= len(piece)
                if count > 0 and not self._advance_to(cursor, position):
                    break
            self.pool.put(self, cursor)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _cursor_before(self, position: int) -> _Cursor:
        """A cursor whose bytes contain ``position``, if there is such a one: from where the fewest are inflated."""
        index = bisect.bisect_right(self._points, position, key=lambda point: point.end) - 1
        point = self._points[index] if index >= 0 else _Cursor(zlib.decompressobj(self.wbits), 0, 0)
        cursor = self.pool.take(self, point.end, position) or _Cursor(point.inflater.copy(), point.at, point.end)
        self._advance_to(cursor, position)
        return cursor

    def _advance_to(self, cursor: _Cursor, position: int) -> bool:
        """Inflate until there is a byte at ``position``; False if the end comes first."""
        while cursor.end <= position:
            if not self._advance(cursor):
                return False
        return True

    def _advance(self, cursor: _Cursor) -> bool:
        """Inflate the next piece; False at the end."""
        if cursor.finished:
            return False
        self._add_point(cursor)
        piece = self.content.read_at(cursor.at, _PIECE_BYTES)
        if not piece:
            raise EOFError
        cursor.last = cursor.inflater.decompress(piece)
        cursor.at += len(piece)
        cursor.end += len(cursor.last)
        if cursor.inflater.eof:
            cursor.at -= len(cursor.inflater.unused_data)
            cursor.finished = self.wbits != GZIP or self.content.read_at(cursor.at, 2) != _GZIP_MAGIC
            cursor.inflater = zlib.decompressobj(self.wbits)
        if cursor.end > self._furthest:
            self.budget.spend(inflated=cursor.end - self._furthest)
            self._furthest = cursor.end
        return True

    def _add_point(self, cursor: _Cursor) -> None:
        if cursor.end < (self._points[-1].end if self._points else 0) + self._spacing:
            return
        self._points.append(_Cursor(cursor.inflater.copy(), cursor.at, cursor.end))
        if len(self._points) > _MOST_POINTS:
            self._points = self._points[1::2]
            self._spacing *= 2


class ContentStream(io.RawIOBase):
    """A stream over content for the libraries that read archives' directories."""

    def __init__(self, content: Content, size: int | None, *, most_at_once: int) -> None:
        """``size`` is None if it is not known; a longer read than ``most_at_once`` raises :class:`BudgetError`."""
        super().__init__()
        self._content = content
        self._size = size
        self._most = most_at_once
        self._position = 0
        self.bytes_read = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END and self._size is None:
            raise io.UnsupportedOperation("the end is not known")
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size or 0}[whence]
        if base + offset < 0:
            raise OSError("a position before the start")
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            size = self._most + 1 if self._size is None else max(0, self._size - self._position)
        if size > self._most:
            raise BudgetError("directories")
        content = self._content.read_at(self._position, size)
        self._position += len(content)
        self.bytes_read += len(content)
        return content
