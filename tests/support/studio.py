"""The studio for a browser: a server with a small model that can go away and come back, pages of it, and what a
musician does there."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
from playwright.sync_api import expect

from support import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fastapi import FastAPI
    from playwright.sync_api import Browser, Locator, Page, Request

#: A busy machine is slow to draw.
#: What the studio has once it takes clicks and keys.
READY = "main:not([aria-busy])"
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


def _elsewhere(asked: str, server: str) -> list[str]:
    return [] if asked.startswith((server, "blob:")) else [asked]


@contextmanager
def page_of(
    browser: Browser, url: str, width: int = 1280, height: int = 800, *, ready: str = READY, **more: Any
) -> Iterator[Page]:
    """A page with a store of its own, which its context's other pages share. Whatever they ask of another address, and
    every script error, fails the test. ``ready``: what the page has once it can be used. ``more``: options of the
    context."""
    context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **more)
    context.set_default_timeout(_PATIENCE_MS)
    faults: list[str] = []
    context.on("weberror", lambda error: faults.append(str(error.error)))
    context.on("request", lambda request: faults.extend(_elsewhere(request.url, url)))
    made = context.new_page()
    go_to(made, url, ready)
    yield made
    context.close()
    assert not faults, faults


def go_to(page: Page, url: str, ready: str = READY) -> None:
    """Open the page and wait until it takes clicks and keys, which is later than the browser's event "load"."""
    page.goto(url)
    page.wait_for_selector(ready)


def reload(page: Page) -> None:
    page.reload()
    page.wait_for_selector(READY)


def open_file(page: Page, content: bytes, name: str = "song.mid") -> None:
    files: list[Any] = [{"name": name, "mimeType": "audio/midi", "buffer": content}]
    page.locator("#file").set_input_files(files)


def drag_bars(page: Page, track: int, first: int, last: int, num_bars: int = 8) -> None:
    """Drag over bars; all of them are in sight."""
    box = page.locator(".lane canvas").nth(track).bounding_box()
    assert box is not None
    wide = (box["width"] - 8) / num_bars
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + wide * (first + 0.5), middle)
    page.mouse.down()
    page.mouse.move(box["x"] + wide * (last + 0.5), middle, steps=3)
    page.mouse.up()


def cards(page: Page, state: str) -> Locator:
    return page.locator(f".card[data-state={state}]")


def write(page: Page, versions: int = 2) -> None:
    page.locator("#version-count").select_option(str(versions))
    page.locator("#generate").click()
    expect(cards(page, "done")).to_have_count(versions)


def exported(page: Page) -> bytes:
    with page.expect_download() as download:
        page.locator("#export").click()
    return Path(download.value.path()).read_bytes()


def asked(page: Page) -> Any:
    """What Generate sends."""
    with page.expect_request("**/generate") as sent:
        page.locator("#generate").click()
    # Either the versions are there, or the server's refusal is; the versions are left.
    expect(page.locator("#discard:visible, #writing-error:visible").first).to_be_visible()
    if page.locator("#versions").is_visible():
        page.locator("#discard").click()
    return sent_body(sent.value)["request"]


def sent_body(request: Request) -> Any:
    """The JSON that a request of the page has."""
    return request.post_data_json
