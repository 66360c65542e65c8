"""Runs the server in this process until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from typing import TYPE_CHECKING

import uvicorn

from midigpt_core.errors import ConfigError
from midigpt_core.system.processes import return_large_blocks
from midigpt_server.app import build_app
from midigpt_server.models import Model, Models
from midigpt_server.osc.server import OscServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from midigpt_server.settings import ServerSettings

#: After a signal, generations in flight have so many seconds to end by themselves; then they are cancelled.
_DRAIN_S = 20
#: Then their answers, with the bars that are complete, have so many seconds to reach the clients.
_ANSWER_S = 5


def serve_forever(settings: ServerSettings, say: Callable[[str], None]) -> None:
    """Load the models, then answer requests. SIGTERM and Ctrl-C let running generations end first; a second one ends
    the process at once.

    With ``settings.osc_port`` the default model also plays along over OSC. ``say`` gets the lines that tell the
    addresses. Raises :class:`midigpt_core.errors.MidigptError` for a bundle, a device or an address that cannot be
    used.
    """
    return_large_blocks()
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # The address first: loading takes longer than finding it taken.
    listening = _listen(settings)
    with listening:
        models = Models([model for one in settings.models for model in Model.all_of(one)], settings.default_model)

        def stop() -> None:
            server.should_exit = True

        app = build_app(models, settings, stop)
        config = uvicorn.Config(
            app,
            log_level=settings.log_level.lower(),
            # The guard writes its own, structured.
            access_log=False,
            timeout_graceful_shutdown=_DRAIN_S + _ANSWER_S,
            server_header=False,
        )
        host, port = listening.getsockname()[:2]
        say(f"Listening on http://{f'[{host}]' if ':' in host else host}:{port} with {models.default}.")
        server = _Server(config, app.state.generations.cancel_all)
        with _osc(settings, models, say):
            server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Cancels what still runs ``_DRAIN_S`` after the first signal, and dies of the second one."""

    def __init__(self, config: uvicorn.Config, cancel_all: Callable[[], None]) -> None:
        super().__init__(config)
        self._cancel_all = cancel_all
        self._signalled = False

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        drained = asyncio.get_running_loop().call_later(_DRAIN_S, self._cancel_all)
        try:
            await super().shutdown(sockets)
        finally:
            drained.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._signalled:
            # Threads that write would keep an orderly end waiting.
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)
        self._signalled = True
        super().handle_exit(sig, frame)


@contextlib.contextmanager
def _osc(settings: ServerSettings, models: Models, say: Callable[[str], None]) -> Iterator[None]:
    """The session over OSC, if one is asked for."""
    if settings.osc_port is None:
        yield
        return
    with contextlib.closing(OscServer(models[None].engine, settings.host, settings.osc_port)) as osc:
        osc.start()
        host, port = osc.address
        say(f"Listening for OSC on {host}:{port}.")
        yield


def _listen(settings: ServerSettings) -> socket.socket:
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ConfigError(f"host {settings.host!r}: {error.strerror or error}. Choose another address.") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}). Stop what uses it, or choose "
            "another --port."
        ) from error
    return listening
