"""The process that parses MIDI. It runs as a script and imports only the parser's module from the package.

To start fast, it also imports little of the standard library: json, pathlib and typing would take a third of its
start-up time.

It is a small forking server. For each connection that it receives, it forks a child, which parses batches until the
other side closes the connection or the child dies; then it reports how the child ended. Forking this small process
takes about a millisecond, so a file that kills the parser costs little extra time.

A request is a header (:data:`REQUEST`), the ends of the chunks in rows (int64) and the offsets of the rows in the data
(int64, one more than rows); the data is at the beginning of a file that both sides map. The answer for each chunk is
sent as soon as the chunk is parsed: the length of a text (:data:`REPLY`), the text ``name=bytes,name=bytes,...`` with
the names and sizes of the buffers, and the buffers, each padded to :data:`ALIGNMENT`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import mmap
import os
import resource
import signal
import socket
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Rows, chunks, bytes of data, threads, seconds that a chunk may take, bytes of memory beyond the process's own.
REQUEST = struct.Struct("<QQQQdQ")
REPLY = struct.Struct("<Q")
#: How a child ended, as ``os.waitpid`` reports it.
ENDED = struct.Struct("<i")
ALIGNMENT = 8
#: Exit code of a child whose parser ran out of memory.
MEMORY_EXIT = 77
#: Exit code of a child whose parser raised an exception; the interpreter has printed it.
RAISED_EXIT = 1

# Larger buffers are sent as they are; smaller ones are joined first.
_LARGE_BYTES = 32 << 10


def main(control_fd: int, data_fd: int, parser: list[str]) -> None:
    """Serve connections that arrive over the socket ``control_fd`` until it is closed; ``data_fd`` contains the
    data."""
    # An interrupt goes to the whole process group; the process that started this one handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    parse = load(*parser)
    with socket.socket(fileno=control_fd) as control, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not descriptors:
                return
            child = os.fork()
            if child == 0:
                control.close()
                _serve(socket.socket(fileno=descriptors[0]), _Data(data_fd), parse)
                os._exit(0)
            os.close(descriptors[0])
            _, status = os.waitpid(child, 0)
            control.sendall(ENDED.pack(status))


def load(module: str, file: str, function: str, *sys_path: str) -> Any:
    """Import one function ``(data, offsets, threads) -> mapping of buffers``, without the packages around it."""
    sys.path[:] = sys_path
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python module")
    loaded = sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, function)


class _Data:
    """The file with the data, mapped as far as was needed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map = memoryview(b"")

    def first(self, size: int) -> memoryview:
        if size > len(self._map):
            # Map the whole file, which grows ahead of the requested size.
            self._map = memoryview(mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ))
        return self._map[:size]


def _serve(connection: socket.socket, data: _Data, parse: Any) -> None:
    """Answer requests until the other side closes the connection."""
    with contextlib.suppress(EOFError):
        try:
            while True:
                _answer(connection, data, parse)
        except MemoryError:
            os._exit(MEMORY_EXIT)


def _answer(connection: socket.socket, data: _Data, parse: Any) -> None:
    header = _receive(connection, REQUEST.size)
    rows, chunks, size, threads, timeout_s, memory_bytes = REQUEST.unpack(header)
    ends = _receive(connection, 8 * chunks).cast("q")
    offsets = _receive(connection, 8 * (rows + 1)).cast("q")
    _limit_memory(None)
    files = data.first(size)
    _limit_memory(memory_bytes)
    start = 0
    for end in ends:
        # SIGALRM ends the process whatever native code is doing.
        signal.setitimer(signal.ITIMER_REAL, timeout_s)
        buffers = parse(files, offsets[start : end + 1], threads)
        signal.setitimer(signal.ITIMER_REAL, 0)
        _send(connection, {name: memoryview(buffer).cast("B") for name, buffer in buffers.items()})
        start = end


def _limit_memory(beyond: int | None) -> None:
    """Make allocations fail that exceed the current size by more than ``beyond`` bytes; None: only the hard limit
    applies."""
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = hard
        if beyond is not None:
            with open("/proc/self/statm") as sizes:  # noqa: PTH123 - see above
                pages = int(sizes.read().split(maxsplit=1)[0])
            limit = pages * resource.getpagesize() + beyond
            limit = limit if hard < 0 else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _receive(connection: socket.socket, size: int) -> memoryview:
    """Exactly ``size`` bytes; raises EOFError if the other side closes the connection."""
    buffer = memoryview(bytearray(size))
    done = 0
    while done < size:
        count = connection.recv_into(buffer[done:])
        if count == 0:
            raise EOFError
        done += count
    return buffer


def _send(connection: socket.socket, reply: dict[str, memoryview]) -> None:
    header = ",".join(f"{name}={len(buffer)}" for name, buffer in reply.items()).encode()
    parts: list[bytes | memoryview] = [REPLY.pack(len(header)), header]
    for buffer in reply.values():
        if len(buffer) > _LARGE_BYTES:
            connection.sendall(b"".join(parts))
            connection.sendall(buffer)
            parts.clear()
        else:
            parts.append(buffer)
        parts.append(bytes(-len(buffer) % ALIGNMENT))
    connection.sendall(b"".join(parts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
