"""Parses MIDI in a separate process, so that no file can crash the run.

Rows go to the process in chunks. If it dies, or exceeds its time or memory, only the current chunk is tried again:
first in small parts, then the part that fails row by row. The first row without an answer is the cause. It gets the
reason as its status and no music, and the rows after it are parsed in chunks again. A crashing row thus costs some
milliseconds. A chunk that hangs is retried row by row at once, so a hanging row costs two time-outs.
"""

from __future__ import annotations

import bisect
import contextlib
import errno
import mmap
import os
import socket
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from typing import IO, TYPE_CHECKING, Protocol

import attrs
import numpy as np
from attrs import frozen

from midigpt_core import memory, terminal
from midigpt_core.corpus import parse_worker, status
from midigpt_core.files import WriteError
from midigpt_core.score.columns import concatenate, empty
from midigpt_core.score.reading import ReadResult, columns_from_buffers
from midigpt_core.system import forking, signals
from midigpt_core.system.capabilities import has
from midigpt_core.system.limits import can_limit_memory
from midigpt_core.system.processes import start_with
from midigpt_core.system.shared_file import open_shared_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import NoReturn, Self

    from midigpt_core.records import Int64Array, UInt8Array

#: The reader of MIDI files, an import string to ``function(data, offsets, threads) -> mapping of buffers``.
DEFAULT_PARSER = "midigpt_core._native:read_batch"

# Large enough that most batches of rows are one chunk, whose columns are then used without a copy.
_CHUNK_ROWS = 256
_CHUNK_BYTES = 8 << 20
#: Rows in each part of a chunk that failed.
_PART_ROWS = 16
_SOCKET_BYTES = 1 << 20

_DEFAULT_TEMPO = 500_000

# -I -S: no environment, no site-packages hooks, so a start takes only as long as importing the parser's module.
_COMMAND = [sys.executable, "-I", "-S", parse_worker.__file__]
_log = terminal.logger("midigpt_core.corpus")

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_MEMORY_BYTES = 1 << 30
# Twice the bounds that the reader keeps to (docs/limits.md): 1 s per MB and 40 bytes per byte.
SECONDS_PER_MIB = 2.0
BYTES_PER_BYTE = 80


@frozen
class ParserLimits:
    """Time and memory that a chunk of rows may take, in addition to what its size allows."""

    #: Seconds; :data:`SECONDS_PER_MIB` more for each MiB of MIDI.
    timeout_s: float = DEFAULT_TIMEOUT_S
    #: Bytes beyond those of the idle process; :data:`BYTES_PER_BYTE` more for each byte of MIDI. Enforced where
    #: :func:`midigpt_core.system.limits.can_limit_memory`, which is on Linux.
    memory_bytes: int = DEFAULT_MEMORY_BYTES

    def timeout(self, size: int) -> float:
        return self.timeout_s + SECONDS_PER_MIB * size / (1 << 20)

    def memory(self, size: int) -> int:
        return self.memory_bytes + BYTES_PER_BYTE * size


@frozen(eq=False)
class _Rows:
    data: UInt8Array
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.offsets) - 1


class _Connection(Protocol):
    """One connection to a process that parses."""

    def recv_into(self, buffer: memoryview, /) -> int: ...

    def sendall(self, content: bytes | memoryview, /) -> object: ...

    def close(self) -> object: ...


class _Processes(Protocol):
    """How a connection gets a process, and what is known of that process's end."""

    def connect(self) -> _Connection: ...

    def send(self, connection: _Connection, request: bytes, content: UInt8Array) -> None:
        """Send a request and its data. No process reads the data of the request before: it has answered or ended."""

    def exit_code(self) -> int:
        """How the process of the last connection ended, as :class:`subprocess.Popen` says it."""

    def end(self) -> None:
        """Say that no more connections follow."""

    def close(self, *, at_once: bool) -> None: ...


class _SharedData:
    """An unnamed file, in memory if the system supports that, which the parser's process maps too.

    Its pages are reused for every batch; over a socket, each byte would be copied twice more, into fresh pages.
    """

    def __init__(self) -> None:
        self.fd = open_shared_file("midigpt-parser")
        self._bytes = np.zeros(0, np.uint8)

    def write(self, content: UInt8Array) -> None:
        if len(content) > len(self._bytes):
            try:
                os.ftruncate(self.fd, len(content) + len(content) // 4)
                self._bytes = np.frombuffer(mmap.mmap(self.fd, 0), np.uint8)
            except OSError as error:
                # A limit on the size of files applies to this one too.
                raise WriteError(
                    f"the memory shared with the MIDI parser: cannot be written ({error.strerror}). "
                    "Raise the limits on file sizes and memory ('ulimit -a' shows them), and run again."
                ) from error
        self._bytes[: len(content)] = content

    def close(self) -> None:
        os.close(self.fd)


class _ForkedProcesses:
    """A copy of one process for each connection (:func:`midigpt_core.system.forking.serve`)."""

    def __init__(self, parser: list[str]) -> None:
        self._control, theirs = socket.socketpair()
        self._data = _SharedData()
        with theirs:
            passed = [theirs.fileno(), self._data.fd]
            self._process = start_with([*_COMMAND, *map(str, passed), *parser], passed)

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BYTES)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BYTES)
        with theirs:
            try:
                forking.hand_over(self._control, theirs)
            except (BrokenPipeError, ConnectionResetError):
                _raise_ended(self._process)
        return ours

    def send(self, connection: _Connection, request: bytes, content: UInt8Array) -> None:
        self._data.write(content)
        connection.sendall(request)

    def exit_code(self) -> int:
        try:
            (ended,) = forking.ENDED.unpack(_exactly(self._control, forking.ENDED.size))
        except (EOFError, ConnectionResetError):
            _raise_ended(self._process)
        return os.waitstatus_to_exitcode(ended)

    def end(self) -> None:
        self._control.close()

    def close(self, *, at_once: bool) -> None:
        # Its child may still be parsing a chunk whose result is no longer needed; both end by themselves, at the latest
        # when the chunk's time is up.
        if at_once:
            self._process.terminate()
        self._process.wait()
        self._data.close()


class _SeparateProcesses:
    """A new process for each connection, which is its standard input and output."""

    def __init__(self, parser: list[str]) -> None:
        self._parser = parser
        self._process: subprocess.Popen[bytes] | None = None

    def connect(self) -> _Streams:
        self._process = subprocess.Popen(
            [*_COMMAND, "", "", *self._parser], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        connection = _Streams(self._process)
        try:
            _exactly(connection, len(parse_worker.READY))
        except EOFError:
            connection.close()
            _raise_ended(self._process)
        return connection

    def send(self, connection: _Connection, request: bytes, content: UInt8Array) -> None:
        connection.sendall(request)
        connection.sendall(content.data)

    def exit_code(self) -> int:
        assert self._process is not None
        return self._process.wait()

    def end(self) -> None:
        """Its input is closed with its connection: it ends."""

    def close(self, *, at_once: bool) -> None:
        if self._process is not None:
            if at_once:
                self._process.terminate()
            self._process.wait()


class _Streams:
    """The standard input and output of a process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._writing: IO[bytes] = process.stdin
        self._reading: IO[bytes] = process.stdout

    def recv_into(self, buffer: memoryview, /) -> int:
        return self._reading.readinto(buffer)  # type: ignore[attr-defined, no-any-return]

    def sendall(self, content: bytes | memoryview, /) -> None:
        rest = memoryview(content).cast("B")
        try:
            while len(rest) > 0:
                rest = rest[self._writing.write(rest) :]
        except OSError as error:
            # As Windows reports a pipe without a reader.
            raise (BrokenPipeError if error.errno == errno.EINVAL else type(error))(*error.args) from error

    def close(self) -> None:
        for stream in (self._writing, self._reading):
            with contextlib.suppress(OSError):
                stream.close()


class IsolatedParser:
    """One parser process, started on entering the context, or one for each part of the work where processes cannot be
    forked.

    ``parser`` is an import string; anything but the default is a seam for tests.
    """

    def __init__(self, parser: str = DEFAULT_PARSER, *, threads: int = 1, limits: ParserLimits | None = None) -> None:
        self._parser = _locate(parser)
        self._threads = threads
        self._limits = limits or ParserLimits()
        self._connection: _Connection | None = None

    def __enter__(self) -> Self:
        _warn_of_unlimited_memory()
        kind = _ForkedProcesses if has("fork") else _SeparateProcesses
        self._processes: _Processes = kind(self._parser)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._processes.close(at_once=kind is not None)

    def end(self) -> None:
        """Tell the process that no more rows follow; it may then end."""
        self._hang_up()
        self._processes.end()

    def parse(self, data: UInt8Array, offsets: Int64Array) -> ReadResult:
        """Parse n rows, MIDI files ``data[offsets[i] : offsets[i + 1]]``; offsets int64[n + 1], from 0.

        A row that kills the parser gets a status of :mod:`midigpt_core.corpus.status` and no music.
        """
        rows = _Rows(data, offsets)
        results: list[ReadResult] = []
        done = 0
        while done < len(rows):
            ends = _chunk_ends(offsets, done)
            done, failure = self._attempt(rows, done, ends, results, self._threads)
            if failure is None:
                break
            end = ends[bisect.bisect_right(ends, done)]
            for size in (1,) if failure == status.TIMEOUT else (_PART_ROWS, 1):
                ends = [*range(done + size, end, size), end]
                # One thread, so that a lack of memory can be attributed to one row.
                done, failure = self._attempt(rows, done, ends, results, 1)
                if failure is None:
                    break
                end = ends[bisect.bisect_right(ends, done)]
            else:
                results.append(_no_music(failure))
                done += 1
        return _join(results)

    def _attempt(
        self, rows: _Rows, first: int, ends: Sequence[int], results: list[ReadResult], threads: int
    ) -> tuple[int, int | None]:
        """Parse the chunks that start at row ``first`` and end at ``ends`` into ``results``.

        Returns the first row that was not parsed, and the status that says why, or None if all were.
        """
        connection = self._connection or self._connect()
        try:
            self._send(connection, rows, first, ends, threads)
            for end in ends:
                results.append(_to_result(self._receive(connection)))
                first = end
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._hang_up()
            return first, self._failure()
        return first, None

    def _send(self, connection: _Connection, rows: _Rows, first: int, ends: Sequence[int], threads: int) -> None:
        end = ends[-1]
        offsets = rows.offsets[first : end + 1] - rows.offsets[first]
        chunks = np.asarray(ends, np.int64) - first
        largest = int(np.diff(offsets[np.concatenate([[0], chunks])]).max())
        timeout_s, memory_bytes = self._limits.timeout(largest), self._limits.memory(largest)
        header = parse_worker.REQUEST.pack(end - first, len(chunks), int(offsets[-1]), threads, timeout_s, memory_bytes)
        content = rows.data[rows.offsets[first] : rows.offsets[end]]
        self._processes.send(connection, header + chunks.tobytes() + offsets.tobytes(), content)

    def _receive(self, connection: _Connection) -> dict[str, memoryview]:
        (size,) = parse_worker.REPLY.unpack(_exactly(connection, parse_worker.REPLY.size))
        pairs = [pair.split("=") for pair in _exactly(connection, size).tobytes().decode().split(",")]
        sizes = {name: int(length) for name, length in pairs}
        padded = {name: length + -length % parse_worker.ALIGNMENT for name, length in sizes.items()}
        content = _exactly(connection, sum(padded.values()))
        buffers = {}
        start = 0
        for name, length in sizes.items():
            buffers[name] = content[start : start + length]
            start += padded[name]
        return buffers

    def _connect(self) -> _Connection:
        self._connection = self._processes.connect()
        return self._connection

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _failure(self) -> int:
        """The status for a process that ended without an answer, by how it ended."""
        code = self._processes.exit_code()
        number = signals.of_exit(code)
        if number is not None:
            return status.TIMEOUT if signals.is_alarm(number) else status.crashed(number)
        if code == signals.TIME_IS_UP_EXIT and not has("signals"):
            return status.TIMEOUT
        if code == parse_worker.RAISED_EXIT:
            raise RuntimeError(
                "the parser raised an exception, which is a bug in the parser; its traceback is printed above"
            )
        return status.MEMORY if code == parse_worker.MEMORY_EXIT else status.EXITED


def _raise_ended(process: subprocess.Popen[bytes]) -> NoReturn:
    code = process.wait()
    raise RuntimeError(f"the parser process ended with code {code}; its own message is printed above")


@cache
def _warn_of_unlimited_memory() -> None:
    """Once per process."""
    if not can_limit_memory():
        _log.warning(
            "This system does not limit the memory of the MIDI parser: a malicious file can take all of it. "
            "Read files that you do not trust in a container or virtual machine that has a limit."
        )


def _locate(parser: str) -> list[str]:
    """The arguments with which :func:`parse_worker.load` imports the parser without the packages around it."""
    module, _, function = parser.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ImportError(f"no module {module!r} for the parser {parser!r}")
    return [module, spec.origin, function, *sys.path]


def _chunk_ends(offsets: Int64Array, first: int) -> list[int]:
    """Where the chunks of the rows from ``first`` on end; a chunk holds at least one row."""
    rows = len(offsets) - 1
    ends = []
    while first < rows:
        fitting = int(np.searchsorted(offsets, offsets[first] + _CHUNK_BYTES, side="right")) - 1
        first = min(max(fitting, first + 1), first + _CHUNK_ROWS, rows)
        ends.append(first)
    return ends


def _exactly(connection: _Connection, size: int) -> memoryview:
    """``size`` bytes; raises EOFError if the other side closes the connection first."""
    # Aligned for every dtype.
    content = memory.empty(size, np.uint8).data
    rest = content
    while len(rest) > 0:
        count = connection.recv_into(rest)
        if count == 0:
            raise EOFError
        rest = rest[count:]
    return content


def _to_result(buffers: Mapping[str, memoryview]) -> ReadResult:
    return ReadResult(
        columns_from_buffers(buffers),
        np.frombuffer(buffers["status"], np.uint8),
        np.frombuffer(buffers["error_offset"], np.int64),
    )


def _no_music(reason: int) -> ReadResult:
    nothing = np.zeros(2, np.int64)
    columns = attrs.evolve(
        empty(),
        tempo=np.array([_DEFAULT_TEMPO], np.int32),
        track_offsets=nothing,
        bar_offsets=nothing,
        cell_offsets=nothing,
        note_offsets=nothing,
    )
    return ReadResult(columns, np.array([reason], np.uint8), np.array([-1], np.int64))


def _join(results: list[ReadResult]) -> ReadResult:
    return ReadResult(
        concatenate([result.columns for result in results]),
        np.concatenate([np.zeros(0, np.uint8), *(result.status for result in results)]),
        np.concatenate([np.zeros(0, np.int64), *(result.error_offset for result in results)]),
    )
