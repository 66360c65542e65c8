"""What every request passes first: whom the server answers, how much it reads, and a line in the access log."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import time
from typing import TYPE_CHECKING

from midigpt_core.terminal import logger
from midigpt_server.settings import is_address, name_in_header

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from midigpt_server.settings import ServerSettings

_log = logger("midigpt_server.access")
#: Path of the studio's export, which has a limit of its own.
EXPORT = "/studio/export"
_LOCAL = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Refuses foreign hosts and origins and bodies that are too long; adds the CORS headers of allowed origins.

    A page of another site that has its own name point at this machine would otherwise reach a server that listens to
    it alone (DNS rebinding): it names itself in the Host header.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self._app = app
        self._settings = settings
        # Bound to all interfaces, the server has more names than it knows; addresses are no names.
        self._any_address = not _is_loopback(settings.host)
        self._hosts = {name.lower() for name in (*_LOCAL, settings.host, *settings.allowed_hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get("origin")
        allowed = origin is not None and origin in self._settings.allowed_origins
        most = self._settings.max_export_bytes if scope["path"] == EXPORT else self._settings.max_body_bytes
        limited = _Limited(receive, most)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if allowed and origin is not None:
                    message["headers"] = [*message["headers"], *_cors(origin)]
            await send(message)

        async def answer_of_app(message: Message) -> None:
            # The application answers a body that was cut off as it answers any that it cannot read.
            if not limited.exceeded:
                await answer(message)

        refusal = self._refusal(scope, headers, most, allowed=allowed)
        if refusal is not None:
            await _send_json(answer, *refusal)
        elif allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await answer({"type": "http.response.start", "status": 204, "headers": []})
            await answer({"type": "http.response.body", "body": b""})
        else:
            try:
                with contextlib.suppress(_TooLong):
                    await self._app(scope, limited, answer_of_app)
            except asyncio.CancelledError:
                # The server is ending and no longer waits for this request. Answer it, and log no traceback.
                if not status:
                    await _send_json(answer, 503, "the server is ending. Try again when it is back.")
            if limited.exceeded:
                await _send_json(answer, 413, _too_long(most))
        _log.info(
            "%s",
            json.dumps(
                {
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round(1000 * (time.perf_counter() - started), 1),
                }
            ),
        )

    def _refusal(self, scope: Scope, headers: dict[str, str], most: int, *, allowed: bool) -> tuple[int, str] | None:
        host = name_in_header(headers.get("host", "").lower())
        if host not in self._hosts and not (self._any_address and is_address(host)):
            return 421, f"host {host[:80]!r} is not this server. Start it with --allow-host to add the name."
        origin = headers.get("origin")
        if origin is not None and not allowed and origin.partition("://")[2] != headers.get("host"):
            return 403, f"pages of {origin[:80]!r} may not call this server. Start it with --allow-origin to add them."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > most:
            return 413, _too_long(most)
        return None


class _TooLong(Exception):
    pass


class _Limited:
    """``receive`` up to a number of bytes, for bodies that do not say their length."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive = receive
        self._left = most

    @property
    def exceeded(self) -> bool:
        return self._left < 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self.exceeded:
                raise _TooLong
        return message


def _too_long(most: int) -> str:
    return f"the body has more than {most:,} bytes. Send a part of the piece."


async def _send_json(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _cors(origin: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", b"content-type"),
        (b"access-control-expose-headers", b"x-request-id"),
        (b"vary", b"origin"),
    ]


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
