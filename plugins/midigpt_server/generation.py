"""One request from its admission to its music, and the frames of its stream."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from midigpt_core.errors import MidigptError
from midigpt_server.refusals import Refused
from midigpt_server.scores import streamed_notes

if TYPE_CHECKING:
    from collections.abc import Callable

    from midigpt_core.inference import FreshNotes, Progress, SamplingSession
    from midigpt_core.score import Score
    from midigpt_server.models import Model
    from midigpt_server.requests import ParsedRequest
    from midigpt_server.scores import ParsedScore


class Generation:
    """One request from its admission to its answer."""

    def __init__(
        self, request_id: str, model: Model, parsed: ParsedScore, asked: ParsedRequest, cancelled: threading.Event
    ) -> None:
        """``cancelled`` ends the planning. Raises :class:`Refused` with all that is wrong with the request."""
        self.request_id = request_id
        self.model = model
        self.asked = asked
        self.parsed = parsed
        try:
            self.session: SamplingSession = model.engine.session(parsed.score, asked.request, cancel_event=cancelled)
        except MidigptError as error:
            raise Refused(422, str(error)) from error

    def cancel(self) -> None:
        """End it: bars that are complete are kept. One that waits ends without writing any."""
        self.session.cancel()

    def run(self, frame: Callable[[dict[str, Any]], None] | None, seconds: float) -> list[Score]:
        """Generate the candidates. ``frame`` gets the frames of a stream; ``seconds`` 0: no limit."""
        timer = threading.Timer(seconds, self.cancel) if seconds else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            if frame is None:
                return self.session.run_variations()
            teller = _Teller(self, frame)
            return [self.session.run(teller.progress, notes=teller.notes)]
        finally:
            if timer is not None:
                timer.cancel()


class _Teller:
    """Makes the frames of a stream."""

    def __init__(self, generation: Generation, frame: Callable[[dict[str, Any]], None]) -> None:
        self._generation = generation
        self._frame = frame
        self._tokens = 0
        self._before_step = 0
        self._step = (-1, 0)
        self._started = time.perf_counter()

    def notes(self, fresh: FreshNotes) -> None:
        if (fresh.step, fresh.attempt) != self._step:
            self._step, self._before_step = (fresh.step, fresh.attempt), self._tokens
        self._frame({"type": "notes", "notes": streamed_notes(fresh.notes), "progress": self._progress()})

    def progress(self, progress: Progress) -> None:
        self._tokens = progress.tokens
        self._frame({"type": "progress", "progress": self._progress()})

    def _progress(self) -> dict[str, Any]:
        return {
            "generated_tokens": self._tokens,
            "step_generated_tokens": self._tokens - self._before_step,
            "context_tokens": self._generation.session.context_tokens,
            "max_context_tokens": self._generation.model.engine.max_tokens,
            "model_forward_s": round(time.perf_counter() - self._started, 4),
            "attempt": max(1, self._step[1]),
        }
