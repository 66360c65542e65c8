"""Keeps a command running when its output cannot be written: the terminal or the reader of the pipe is gone, the disk
is full, or the terminal's encoding lacks a character.

If the lost output was the command's result, the exit code says so.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any

from midigpt_core.system.handles import wait_until_writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

#: Errors of a pipe without a reader, a closed terminal or a closed descriptor.
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ESTALE)


class Drain(io.RawIOBase):
    """Writes to a descriptor. Output that cannot be written is dropped; the first error is kept."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        #: The first error; None: nothing was lost.
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, content: ReadableBuffer, /) -> int:
        size = memoryview(content).nbytes
        while True:
            try:
                return os.write(self._descriptor, content)
            except BlockingIOError:
                wait_until_writable(self._descriptor)
            except OSError as error:
                self.failure = self.failure or error
                if error.errno in _GONE:
                    self._point_to_nothing()
                return size

    def _point_to_nothing(self) -> None:
        """Libraries and child processes write to the descriptor too, without this class in between."""
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:  # noqa: PTH123 (a device)
            os.dup2(nothing.fileno(), self._descriptor)


@contextlib.contextmanager
def enduring_streams() -> Iterator[Drain | None]:
    """Inside, writing to ``sys.stdout`` and ``sys.stderr`` never raises. Streams that are not files are left alone.

    Yields the Drain behind standard output, or None.
    """
    _occupy_standard_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = ours = [_enduring(stream) or stream for stream in before]
    try:
        yield _drain_of(sys.stdout)
    finally:
        for stream in ours:
            if _drain_of(stream) is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


@contextlib.contextmanager
def aside() -> Iterator[None]:
    """Inside, printed lines are not the command's result, which is in files: losing them is not a failure."""
    drain = _drain_of(sys.stdout)
    before = drain.failure if drain is not None else None
    yield
    if drain is not None:
        drain.failure = before


def _occupy_standard_descriptors() -> None:
    """Open descriptors 0 to 2 if they are closed. Otherwise the next opened file would receive the printed output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _drain_of(stream: Any) -> Drain | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Drain) else None


def _enduring(stream: Any) -> Any:
    """A stream to the same file that drops what cannot be written; None if ``stream`` has no file behind it."""
    try:
        stream.flush()
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    return io.TextIOWrapper(
        io.BufferedWriter(Drain(descriptor)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )
