"""Receives OSC over UDP and answers the sender."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.osc_packet import OscPacket, ParseError
from pythonosc.osc_server import BlockingOSCUDPServer

from midigpt_core.errors import ConfigError
from midigpt_core.terminal import logger
from midigpt_server.osc.session import LiveSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.inference import InferenceEngine

_log = logger(__name__)
_PREFIX = "/midigpt"
#: A receiver's buffer holds some hundred messages: after so many in a row there is a pause for it to read them.
_BURST = 32
_PAUSE_S = 0.002
#: Bytes for messages that arrive while others are handled; the system may give less.
_BUFFER = 4 * 2**20


class _AtOnce(Dispatcher):
    """Hands every message to one handler when it arrives.

    The base class would first wait until the time of a bundle, which may be wrong, and hold up all other messages.
    """

    def __init__(self, handler: Callable[..., None]) -> None:
        super().__init__()
        self._handler = handler

    def call_handlers_for_packet(self, data: bytes, client_address: tuple[str, int]) -> list[Any]:
        try:
            messages = OscPacket(data).messages
        except (ParseError, UnicodeDecodeError) as error:
            _log.warning("an OSC packet from %s:%s cannot be read and was ignored: %s", *client_address, error)
            return []
        for timed in messages:
            self._handler(client_address, timed.message.address, *timed.message.params)
        return []


class OscServer:
    """A session on a UDP port. Answers go to the address that the last message came from."""

    def __init__(self, engine: InferenceEngine, host: str, port: int) -> None:
        """Binds the port. Raises ConfigError where that is not possible."""
        try:
            self._server = BlockingOSCUDPServer((host, port), _AtOnce(self._received))
        except OSError as error:
            raise ConfigError(
                f"cannot listen for OSC on {host}:{port} ({error.strerror}). Stop what uses it, or choose "
                "another --osc."
            ) from error
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self._client: tuple[str, int] | None = None
        self._sent = 0
        self._last_pause = 0.0
        self._session = LiveSession(engine, self._send)
        self._thread = threading.Thread(target=self._server.serve_forever, name="osc", daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def start(self) -> None:
        """Receive messages, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """End the session and free the port."""
        self._session.close()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _received(self, client: tuple[str, int], address: str, *arguments: Any) -> None:
        if not address.startswith(f"{_PREFIX}/"):
            _log.debug("an OSC message of another program was ignored")
            return
        self._client = client
        self._session.handle(address.removeprefix(_PREFIX), *arguments)

    def _send(self, address: str, *arguments: Any) -> None:
        if self._client is None:
            return
        message = OscMessageBuilder(address=f"{_PREFIX}{address}")
        for argument in arguments:
            message.add_arg(argument)
        try:
            self._server.socket.sendto(message.build().dgram, self._client)
        except OSError as error:
            _log.warning("an OSC message to %s:%s was not sent: %s", *self._client, error)
        self._pace()

    def _pace(self) -> None:
        now = time.perf_counter()
        if now - self._last_pause > 10 * _PAUSE_S:
            self._sent, self._last_pause = 0, now
        self._sent += 1
        if self._sent >= _BURST:
            time.sleep(_PAUSE_S)
            self._sent, self._last_pause = 0, time.perf_counter()
