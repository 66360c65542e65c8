"""Standard output and standard error that end no command: a terminal that is gone, a pipe that nobody reads, a full
disk under a log file, a character that the terminal's encoding lacks.

What a command was started for goes on. Where what was lost is the command's own result, its exit code says so.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import ReadableBuffer

#: Nobody is there any more: a pipe without a reader, a terminal that was closed, a descriptor that was.
_GONE = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ESTALE)


class Drain(io.RawIOBase):
    """Writes to a descriptor; what the system does not take is dropped, and the first reason kept."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        #: Why something was lost; None: nothing was.
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
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = self.failure or error
                if error.errno in _GONE:
                    self._point_to_nothing()
                return size

    def _point_to_nothing(self) -> None:
        """Libraries and child processes write there too, with nothing in between."""
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nothing:  # noqa: PTH123 (a device)
            os.dup2(nothing.fileno(), self._descriptor)


@contextlib.contextmanager
def enduring_streams() -> Iterator[Drain | None]:
    """Inside, ``sys.stdout`` and ``sys.stderr`` raise nothing. Streams that are no files stay as they are.

    Yields what is behind standard output, or None.
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
    """What is printed inside tells of what the command has done elsewhere, in files: it succeeds without it."""
    drain = _drain_of(sys.stdout)
    before = drain.failure if drain is not None else None
    yield
    if drain is not None:
        drain.failure = before


def _occupy_standard_descriptors() -> None:
    """Where one was closed before the start, the next file to be opened would take its number, and what is printed."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _drain_of(stream: Any) -> Drain | None:
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, Drain) else None


def _enduring(stream: Any) -> Any:
    """A stream to the same place that loses what cannot be written; None where there is no file behind ``stream``."""
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
