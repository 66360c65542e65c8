"""The studio for a browser: a server with a small model that can go away and come back, and pages of it."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from support import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from playwright.sync_api import Browser, Page

#: A busy machine is slow to draw.
_PATIENCE_MS = 30_000


class Server:
    """The application behind one address, as often as it is started."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        config = uvicorn.Config(
            self.app, port=self.port, log_level="critical", lifespan="off", timeout_graceful_shutdown=0
        )
        self._server = uvicorn.Server(config)
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(self._server, started))
        self._thread.start()
        assert started.wait(30)

    def stop(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    @staticmethod
    def _run(server: uvicorn.Server, started: threading.Event) -> None:
        async def serve() -> None:
            serving = asyncio.create_task(server.serve())
            while not server.started and not serving.done():
                await asyncio.sleep(0.01)
            started.set()
            await serving

        asyncio.run(serve())


@contextmanager
def running(preset: str = "yellow") -> Iterator[Server]:
    server = Server(serving.app((preset,)))
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def page_of(browser: Browser, url: str, width: int = 1280, height: int = 800) -> Iterator[Page]:
    """A page with a store of its own. Whatever it asks of another address, and every script error, fails the test."""
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
    context.set_default_timeout(_PATIENCE_MS)
    made = context.new_page()
    faults: list[str] = []
    made.on("pageerror", lambda error: faults.append(str(error)))
    made.on("request", lambda request: request.url.startswith((url, "blob:")) or faults.append(request.url))
    made.goto(url)
    yield made
    context.close()
    assert not faults, faults
