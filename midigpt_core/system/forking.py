"""A process that makes a copy of itself for each connection that it is given."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

#: How a copy ended, as ``os.waitpid`` reports it.
ENDED = struct.Struct("<i")


def serve(control_handle: int, answer: Callable[[socket.socket], object]) -> None:
    """For each connection that arrives over the socket ``control_handle``, until that is closed: call ``answer`` in a
    copy of this process, wait for the copy's end, and send back :data:`ENDED`."""
    with socket.socket(fileno=control_handle) as control, contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while True:
            _, handles, _, _ = socket.recv_fds(control, 1, 1)
            if not handles:
                return
            child = os.fork()
            if child == 0:
                control.close()
                answer(socket.socket(fileno=handles[0]))
                os._exit(0)
            os.close(handles[0])
            _, status = os.waitpid(child, 0)
            control.sendall(ENDED.pack(status))


def hand_over(control: socket.socket, connection: socket.socket) -> None:
    """Send a connection to the process that :func:`serve` runs in, at the other end of ``control``. Raises OSError."""
    socket.send_fds(control, [b"+"], [connection.fileno()])
