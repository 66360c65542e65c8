"""The process that parses MIDI. It runs as a script and imports only the parser's module and
:mod:`midigpt_core.system` from the package.

To start fast, it also imports little of the standard library: json, pathlib and typing would take a third of its
start-up time.

It is a small forking server. For each connection that it receives, it forks a child, which parses batches until the
other side closes the connection or the child dies; then it reports how the child ended. Forking this small process
takes about a millisecond, so a file that kills the parser costs little extra time. Where processes cannot be forked,
each connection has a process of its own, which reads requests from standard input and answers on standard output.

A request is a header (:data:`REQUEST`), the ends of the chunks in rows (int64) and the offsets of the rows in the data
(int64, one more than rows). The data is at the beginning of a file that both sides map, or follows the offsets. The
answer for each chunk is sent as soon as the chunk is parsed: the length of a text (:data:`REPLY`), the text
``name=bytes,name=bytes,...`` with the names and sizes of the buffers, and the buffers, each padded to
:data:`ALIGNMENT`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import mmap
import os
import signal
import struct
import sys

if __name__ == "__main__":
    # What follows imports from an empty package: the real one imports far more than a parser needs.
    _package = sys.modules["midigpt_core"] = type(sys)("midigpt_core")
    _package.__path__ = [os.path.dirname(os.path.dirname(os.path.abspath(__file__)))]  # noqa: PTH100, PTH120

from midigpt_core.system import forking, limits
from midigpt_core.system.signals import end_unless_done

if __name__ == "__main__":
    del sys.modules["midigpt_core"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Connection(Protocol):
        def recv_into(self, buffer: memoryview, /) -> int: ...

        def sendall(self, content: bytes | memoryview, /) -> object: ...


#: Rows, chunks, bytes of data, threads, seconds that a chunk may take, bytes of memory beyond the process's own.
REQUEST = struct.Struct("<QQQQdQ")
REPLY = struct.Struct("<Q")
#: What a process that serves standard input sends first.
READY = b"+"
ALIGNMENT = 8
#: Exit code of a process whose parser ran out of memory.
MEMORY_EXIT = 77
#: Exit code of a process whose parser raised an exception; the interpreter has printed it.
RAISED_EXIT = 70

# Larger buffers are sent as they are; smaller ones are joined first.
_LARGE_BYTES = 32 << 10


def main(control: str, data: str, parser: list[str]) -> None:
    """Serve connections that arrive over the socket ``control`` until it is closed; the file ``data`` contains the
    data. Both are handles; empty: serve standard input and output alone."""
    # An interrupt goes to the whole process group; the process that started this one handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limits.crash_quietly()
    if control:
        parse = load(*parser)
        forking.serve(int(control), lambda connection: _serve(connection, _MappedData(int(data)).first, parse))
    else:
        connection = StandardStreams()
        sys.excepthook = _print_and_exit
        parse = load(*parser)
        connection.sendall(READY)
        _serve(connection, lambda size: _receive(connection, size), parse)


def load(module: str, file: str, function: str, *sys_path: str) -> Any:
    """Import one function ``(data, offsets, threads) -> mapping of buffers``, without the packages around it."""
    sys.path[:] = sys_path
    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python module")
    loaded = sys.modules[module] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return getattr(loaded, function)


class StandardStreams:
    """Standard input and output as a connection. What is printed goes to standard error from now on."""

    def __init__(self) -> None:
        self._reading = open(os.dup(0), "rb", buffering=0)  # noqa: PTH123, SIM115 - until the process ends
        self._writing = open(os.dup(1), "wb")  # noqa: PTH123, SIM115
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 0)
        os.dup2(2, 1)

    def recv_into(self, buffer: memoryview, /) -> int:
        return self._reading.readinto(buffer) or 0

    def sendall(self, content: bytes | memoryview, /) -> None:
        self._writing.write(content)
        self._writing.flush()


class _MappedData:
    """The file with the data, mapped as far as was needed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._map = memoryview(b"")

    def first(self, size: int) -> memoryview:
        if size > len(self._map):
            # Map the whole file, which grows ahead of the requested size.
            self._map = memoryview(mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ))
        return self._map[:size]


def _serve(connection: Connection, data: Callable[[int], memoryview], parse: Any) -> None:
    """Answer requests until the other side closes the connection. ``data`` gives the data of a request by its size."""
    sys.excepthook = _print_and_exit
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            while True:
                _answer(connection, data, parse)
        except MemoryError:
            os._exit(MEMORY_EXIT)


def _print_and_exit(*error: Any) -> None:
    sys.__excepthook__(*error)
    os._exit(RAISED_EXIT)


def _answer(connection: Connection, data: Callable[[int], memoryview], parse: Any) -> None:
    header = _receive(connection, REQUEST.size)
    rows, chunks, size, threads, timeout_s, memory_bytes = REQUEST.unpack(header)
    ends = _receive(connection, 8 * chunks).cast("q")
    offsets = _receive(connection, 8 * (rows + 1)).cast("q")
    limits.limit_memory(None)
    files = data(size)
    limits.limit_memory(memory_bytes)
    start = 0
    for end in ends:
        with end_unless_done(timeout_s):
            buffers = parse(files, offsets[start : end + 1], threads)
        _send(connection, {name: memoryview(buffer).cast("B") for name, buffer in buffers.items()})
        start = end


def _receive(connection: Connection, size: int) -> memoryview:
    """Exactly ``size`` bytes; raises EOFError if the other side closes the connection."""
    buffer = memoryview(bytearray(size))
    done = 0
    while done < size:
        count = connection.recv_into(buffer[done:])
        if count == 0:
            raise EOFError
        done += count
    return buffer


def _send(connection: Connection, reply: dict[str, memoryview]) -> None:
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
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
