"""The endpoints, as a FastAPI application."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, StrictStr

from midigpt_core.errors import MidigptError
from midigpt_core.terminal import logger
from midigpt_server.answers import answer, plan_answer
from midigpt_server.generation import Generation
from midigpt_server.generations import Generations, fresh_id
from midigpt_server.guards import Guard
from midigpt_server.refusals import Refused, finite
from midigpt_server.requests import parse_request
from midigpt_server.scores import parse_score

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from concurrent.futures import Future

    from fastapi import Response

    from midigpt_server.generations import Slot
    from midigpt_server.models import Model, Models
    from midigpt_server.settings import ServerSettings

_log = logger(__name__)
#: Lines of comment keep a silent stream open.
_KEEP_ALIVE_S = 15.0
#: How often a waiting answer looks whether its client is still there.
_LOOK_EVERY_S = 0.25
_IDLE_EVERY_S = 1.0
_EVENT_STREAM = "text/event-stream; charset=utf-8"


class GenerateBody(BaseModel):
    """The body of ``POST /generate``; what ``score`` and ``request`` hold is checked by our own readers."""

    score: dict[str, Any]
    request: dict[str, Any]
    request_id: StrictStr | None = None
    stream: bool = False
    model: StrictStr | None = None


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
        return JSONResponse({"detail": error.detail}, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        # Without `input`, which would send the music back, and may hold what JSON cannot say.
        problems = [
            {"type": one["type"], "loc": [str(part) for part in one["loc"]], "msg": one["msg"]}
            for one in error.errors()
        ]
        return JSONResponse({"detail": problems}, 422)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        generations.last_use = time.monotonic()
        return {"status": "ok", "inflight": generations.in_flight, "max_queue": generations.limit}

    @app.get("/metrics")
    async def metrics() -> PlainTextResponse:
        lines = [
            "# TYPE midigpt_generations_in_flight gauge",
            f"midigpt_generations_in_flight {generations.in_flight}",
            "# TYPE midigpt_generations_total counter",
            *(
                f'midigpt_generations_total{{outcome="{outcome}"}} {count}'
                for outcome, count in sorted(generations.ended.items())
            ),
        ]
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/models")
    async def listed() -> dict[str, Any]:
        return models.listed()

    @app.get("/info")
    async def info(model: str | None = None) -> dict[str, Any]:
        return models[model].info(models.default)

    @app.post("/generate", response_model=None)
    async def generate(body: GenerateBody, request: Request) -> Response:
        if not finite(body.score) or not finite(body.request):
            raise Refused(422, "the body holds NaN or Infinity. Send finite numbers.")
        model = models[body.model]
        slot = generations.admit(body.request_id or fresh_id())
        try:
            # Reading and planning a long piece takes a while; other requests are answered meanwhile.
            generation = await asyncio.to_thread(_prepared, body, model, settings, slot.request_id)
            if generation.asked.plan_only:
                slot.close("planned")
                return JSONResponse(plan_answer(generation, body.request_id))
            if body.stream and generation.asked.request.config.num_candidates > 1:
                raise Refused(400, "stream: several candidates cannot be streamed. Ask for one, or do not stream.")
        except BaseException:
            slot.close("refused")
            raise
        slot.hold(generation)
        headers = {"X-Request-Id": generation.request_id}
        if body.stream:
            frames = _stream(generation, slot, settings.max_generation_seconds)
            return StreamingResponse(frames, media_type=_EVENT_STREAM, headers={**headers, "Cache-Control": "no-store"})
        return await _answer(generation, slot, request, settings.max_generation_seconds, headers)

    @app.post("/generate/{request_id}/cancel")
    async def cancel(request_id: str) -> dict[str, str]:
        if not generations.cancel(request_id):
            raise Refused(404, f"no in-flight request with id {request_id[:80]!r}. It may have ended.")
        return {"request_id": request_id, "status": "cancelling"}

    return app


def _prepared(body: GenerateBody, model: Model, settings: ServerSettings, request_id: str) -> Generation:
    parsed = parse_score(body.score, settings.score_limits)
    asked = parse_request(body.request, parsed)
    return Generation(request_id, model, parsed, asked)


def _begin(
    generation: Generation, slot: Slot, seconds: float, frame: Callable[[dict[str, Any]], None] | None
) -> Future[dict[str, Any]]:
    """Queue the generation; its slot is given back when it ends, however it ends."""
    future: Future[dict[str, Any]] = generation.model.pool.submit(_carry_out, generation, frame, seconds)
    future.add_done_callback(lambda done: slot.close(_outcome(done)))
    return future


def _carry_out(
    generation: Generation, frame: Callable[[dict[str, Any]], None] | None, seconds: float
) -> dict[str, Any]:
    return answer(generation, generation.run(frame, seconds))


def _outcome(done: Future[dict[str, Any]]) -> str:
    if done.cancelled():
        return "cancelled"
    return "failed" if done.exception() is not None else str(done.result()["status"])


async def _answer(
    generation: Generation, slot: Slot, request: Request, seconds: float, headers: dict[str, str]
) -> Response:
    future = _begin(generation, slot, seconds, None)
    waiting = asyncio.wrap_future(future)
    try:
        while not waiting.done():
            await asyncio.wait([waiting], timeout=_LOOK_EVERY_S)
            if not waiting.done() and await request.is_disconnected():
                generation.cancel()
    except asyncio.CancelledError:
        generation.cancel()
        raise
    error = waiting.exception()
    if error is not None:
        return JSONResponse({"detail": _failure(error)}, 500, headers)
    return JSONResponse(waiting.result(), headers=headers)


async def _stream(generation: Generation, slot: Slot, seconds: float) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    frames: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def frame(content: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(frames.put_nowait, content)

    def ended(done: Future[dict[str, Any]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody reads
            frame(_last_frame(generation, done))

    future = _begin(generation, slot, seconds, frame)
    future.add_done_callback(ended)
    try:
        while True:
            try:
                content = await asyncio.wait_for(frames.get(), _KEEP_ALIVE_S)
            except TimeoutError:
                yield ": waiting\n\n"
                continue
            yield f"data: {json.dumps(content, ensure_ascii=False)}\n\n"
            if content["type"] in ("done", "cancelled", "error"):
                return
    finally:
        # Also when the client has gone.
        generation.cancel()


def _last_frame(generation: Generation, done: Future[dict[str, Any]]) -> dict[str, Any]:
    if done.cancelled():
        return {"type": "error", "request_id": generation.request_id, "error": "the server is stopping."}
    error = done.exception()
    if error is not None:
        return {"type": "error", "request_id": generation.request_id, "error": _failure(error)}
    response = done.result()
    return {"type": "cancelled" if response["status"] == "cancelled" else "done", "response": response}


def _failure(error: BaseException) -> str:
    """What a client is told: the message of an error that a user can act on, else that the log has more."""
    if isinstance(error, MidigptError):
        return str(error)
    _log.error("a generation failed", exc_info=error)
    return f"the generation failed ({type(error).__name__}). The server's log has the cause."


async def _stop_when_idle(generations: Generations, seconds: float, stop: Callable[[], None]) -> None:
    while seconds:
        await asyncio.sleep(min(seconds, _IDLE_EVERY_S))
        if not generations.in_flight and time.monotonic() - generations.last_use > seconds:
            _log.warning("no request for %g seconds: stopping.", seconds)
            stop()
            return
