"""The endpoints, as a FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, StrictStr

from midigpt_core.errors import ComponentError
from midigpt_core.terminal import logger
from midigpt_server.answers import answer, plan_answer
from midigpt_server.generation import Generation
from midigpt_server.generations import Generations, fresh_id
from midigpt_server.guards import Guard
from midigpt_server.refusals import Refused, check_values, failure_text
from midigpt_server.requests import parse_request
from midigpt_server.scores import parse_score
from midigpt_server.studio import add_studio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from fastapi import Response
    from starlette.types import Receive, Scope, Send

    from midigpt_server.generations import Slot
    from midigpt_server.models import Model, Models
    from midigpt_server.settings import ServerSettings

_log = logger(__name__)
#: Lines of comment keep a silent stream open.
_KEEP_ALIVE_S = 15.0
#: How often a waiting answer looks whether its client is still there.
_LOOK_EVERY_S = 0.25
_IDLE_EVERY_S = 1.0
_LONGEST_ID = 256
#: What a header may hold as it is.
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_EVENT_STREAM = "text/event-stream; charset=utf-8"
_NOT_JSON = "the body was not read as JSON. Send it with the header Content-Type: application/json."


class GenerateBody(BaseModel):
    """The body of ``POST /generate``; what ``score`` and ``request`` hold is checked by our own readers."""

    score: dict[str, Any]
    request: dict[str, Any]
    request_id: StrictStr | None = None
    stream: bool = False
    model: StrictStr | None = None


class _Json(JSONResponse):
    """JSON in ASCII: a text of the request may hold what UTF-8 cannot say."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def build_app(models: Models, settings: ServerSettings, stop: Callable[[], None]) -> FastAPI:
    """The application that answers with ``models``; ``stop`` is called when it was idle for long enough."""
    generations = Generations(settings.max_queue)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        idle = asyncio.create_task(_stop_when_idle(generations, settings.idle_timeout, stop))
        try:
            yield
        finally:
            idle.cancel()
            generations.cancel_all()
            models.close()

    app = FastAPI(title="midigpt", lifespan=lifespan)
    app.add_middleware(Guard, settings=settings)
    app.state.generations = generations

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return _Json({"detail": error.detail}, error.status, error.headers)

    @app.exception_handler(ComponentError)
    async def broken(_: Request, error: ComponentError) -> Response:
        return _Json({"detail": failure_text(error)}, 500)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        return _Json({"detail": _problems(error)}, 422)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        generations.last_use = time.monotonic()
        return {"status": "ok", "inflight": generations.in_flight, "max_queue": generations.limit}

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        lines = [
            "# HELP midigpt_generations_in_flight Generations that wait or run.",
            "# TYPE midigpt_generations_in_flight gauge",
            f"midigpt_generations_in_flight {generations.in_flight}",
            "# HELP midigpt_generations_total Generations that ended, by outcome.",
            "# TYPE midigpt_generations_total counter",
            *(
                f'midigpt_generations_total{{outcome="{outcome}"}} {count}'
                for outcome, count in sorted(generations.ended.items())
            ),
        ]
        return PlainTextResponse(
            "\n".join([*lines, *models.metrics()]) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @app.get("/models")
    async def listed() -> dict[str, Any]:
        return models.listed()

    @app.get("/info")
    async def info(model: str | None = None) -> dict[str, Any]:
        return models[model].info(models.default)

    @app.post("/generate", response_model=None)
    async def generate(body: GenerateBody, request: Request) -> Response:
        model = models[body.model]
        if body.request_id and (len(body.request_id) > _LONGEST_ID or not body.request_id.isprintable()):
            raise Refused(422, f"request_id: expected at most {_LONGEST_ID} printable characters.")
        slot = generations.admit(body.request_id or fresh_id())
        try:
            # Reading and planning a long piece takes a while; other requests are answered meanwhile.
            preparing = asyncio.ensure_future(asyncio.to_thread(_prepared, body, model, settings, slot))
            with _limit(slot, settings.max_generation_seconds):
                await _watched(preparing, slot, request)
            generation = preparing.result()
            if generation.asked.plan_only:
                cancelled = slot.cancelled.is_set()
                slot.close("cancelled" if cancelled else "planned")
                return _Json(plan_answer(generation, body.request_id, cancelled=cancelled))
            if body.stream and generation.asked.request.config.num_candidates > 1:
                raise Refused(400, "stream: several candidates cannot be streamed. Ask for one, or do not stream.")
        except BaseException:
            slot.close("refused")
            raise
        headers = {"X-Request-Id": quote(generation.request_id, safe=_PRINTABLE)}
        if body.stream:
            # Queued before the response exists: a client that leaves before its first frame gives its place back too.
            frames = _Frames(generation, slot, settings.max_generation_seconds)
            headers["Cache-Control"] = "no-store"
            return _Stream(frames, slot, headers)
        return await _answer(generation, slot, request, settings.max_generation_seconds, headers)

    @app.post("/generate/{request_id:path}/cancel")
    async def cancel(request_id: str) -> dict[str, str]:
        if not generations.cancel(request_id):
            raise Refused(404, f"no in-flight request with id {request_id[:80]!r}. It may have ended.")
        return {"request_id": request_id, "status": "cancelling"}

    add_studio(app, settings.score_limits)
    return app


def _problems(error: RequestValidationError) -> list[dict[str, Any]]:
    # FastAPI reads a body as JSON only if its header says that it is.
    was_text = isinstance(error.body, bytes) and error.body != b""
    # Without `input`, which would send the music back, and may hold what JSON cannot say.
    return [
        {
            "type": one["type"],
            "loc": [str(part) for part in one["loc"]],
            "msg": _NOT_JSON if was_text and one["loc"] == ("body",) else one["msg"],
        }
        for one in error.errors()
    ]


def _prepared(body: GenerateBody, model: Model, settings: ServerSettings, slot: Slot) -> Generation:
    check_values(body.score, "score")
    check_values(body.request, "request")
    parsed = parse_score(body.score, settings.score_limits)
    asked = parse_request(body.request, parsed)
    return Generation(slot.request_id, model, parsed, asked, slot.cancelled)


@contextlib.contextmanager
def _limit(slot: Slot, seconds: float) -> Iterator[None]:
    """Cancel the request if this lasts longer; 0: no limit."""
    timer = asyncio.get_running_loop().call_later(seconds, slot.cancel) if seconds else None
    try:
        yield
    finally:
        if timer is not None:
            timer.cancel()


async def _watched(work: asyncio.Future[Any], slot: Slot, request: Request) -> None:
    """Wait for ``work``. If the client leaves meanwhile, the request is cancelled."""
    try:
        while not work.done():
            await asyncio.wait([work], timeout=_LOOK_EVERY_S)
            if not work.done() and await request.is_disconnected():
                slot.cancel()
    except asyncio.CancelledError:
        slot.cancel()
        raise


async def _answer(
    generation: Generation, slot: Slot, request: Request, seconds: float, headers: dict[str, str]
) -> Response:
    def work() -> dict[str, Any]:
        return answer(generation, generation.run(None, seconds))

    waiting = asyncio.wrap_future(slot.begin(generation, work))
    await _watched(waiting, slot, request)
    ended = await _ended(waiting, work)
    if (error := ended.exception()) is not None:
        return _Json({"detail": failure_text(error)}, 500, headers)
    return _Json(ended.result(), headers=headers)


async def _ended(
    done: asyncio.Future[dict[str, Any]], work: Callable[[], dict[str, Any]]
) -> asyncio.Future[dict[str, Any]]:
    """``done``; if it was cancelled before its turn, ``work`` is carried out now, which then returns at once."""
    if done.cancelled():
        done = asyncio.ensure_future(asyncio.to_thread(work))
        await asyncio.wait([done])
    return done


class _Stream(StreamingResponse):
    """The answer with the frames. Ends the generation when the client has gone, also before the first frame."""

    def __init__(self, frames: _Frames, slot: Slot, headers: dict[str, str]) -> None:
        super().__init__(frames.read(), media_type=_EVENT_STREAM, headers=headers)
        self._slot = slot

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._slot.cancel()


class _Frames:
    """The stream of a generation, which is queued when this is made."""

    def __init__(self, generation: Generation, slot: Slot, seconds: float) -> None:
        self._generation = generation
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        #: None: the generation has ended.
        self._queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._future = slot.begin(generation, self._work)
        self._future.add_done_callback(lambda _: self._put(None))

    def _work(self) -> dict[str, Any]:
        return answer(self._generation, self._generation.run(self._put, self._seconds))

    def _put(self, frame: dict[str, Any] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody reads
            self._loop.call_soon_threadsafe(self._queue.put_nowait, frame)

    async def read(self) -> AsyncIterator[str]:
        while True:
            try:
                frame = await asyncio.wait_for(self._queue.get(), _KEEP_ALIVE_S)
            except TimeoutError:
                yield ": waiting\n\n"
                continue
            yield f"data: {json.dumps(frame or await self._last())}\n\n"
            if frame is None:
                return

    async def _last(self) -> dict[str, Any]:
        done = asyncio.wrap_future(self._future)
        await asyncio.wait([done])
        ended = await _ended(done, self._work)
        if (error := ended.exception()) is not None:
            return {"type": "error", "request_id": self._generation.request_id, "error": failure_text(error)}
        response = ended.result()
        return {"type": "cancelled" if response["status"] == "cancelled" else "done", "response": response}


async def _stop_when_idle(generations: Generations, seconds: float, stop: Callable[[], None]) -> None:
    while seconds:
        await asyncio.sleep(min(seconds, _IDLE_EVERY_S))
        if not generations.in_flight and time.monotonic() - generations.last_use > seconds:
            _log.warning("no request for %g seconds: stopping.", seconds)
            stop()
            return
