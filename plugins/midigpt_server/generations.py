"""The generations in flight: admitted or refused, found by their names, always given back."""

from __future__ import annotations

import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from midigpt_server.refusals import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from midigpt_server.generation import Generation


class Generations:
    """All generations in flight; at most ``limit``."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = threading.Lock()
        #: By the names of their requests. Two of one name are cancelled together.
        self._slots: dict[str, list[Slot]] = {}
        #: Ended since the start, by outcome.
        self.ended: dict[str, int] = {}
        self.last_use = time.monotonic()

    @property
    def in_flight(self) -> int:
        with self._lock:
            return sum(map(len, self._slots.values()))

    def admit(self, request_id: str) -> Slot:
        """A place among the generations. Raises :class:`Refused` (503) when all are taken."""
        slot = Slot(self, request_id)
        with self._lock:
            self.last_use = time.monotonic()
            if sum(map(len, self._slots.values())) >= self.limit:
                text = f"{self.limit} requests are waiting or running. Try again in 5 seconds."
                raise Refused(503, text, {"Retry-After": "5"})
            self._slots.setdefault(request_id, []).append(slot)
        return slot

    def cancel(self, request_id: str) -> bool:
        """Cancel all generations of that name. False: there is none."""
        with self._lock:
            self.last_use = time.monotonic()
            found = list(self._slots.get(request_id, ()))
        for slot in found:
            slot.cancel()
        return bool(found)

    def cancel_all(self) -> None:
        with self._lock:
            every = [slot for same in self._slots.values() for slot in same]
        for slot in every:
            slot.cancel()

    def give_back(self, slot: Slot, outcome: str) -> None:
        """End a slot. A second call does nothing."""
        with self._lock:
            same = self._slots.get(slot.request_id, [])
            if slot not in same:
                return
            same.remove(slot)
            if not same:
                del self._slots[slot.request_id]
            self.last_use = time.monotonic()
            self.ended[outcome] = self.ended.get(outcome, 0) + 1


class Slot:
    """A place among the generations, from the admission of a request to its answer.

    Its methods are called in one thread, that of the event loop.
    """

    def __init__(self, generations: Generations, request_id: str) -> None:
        self.request_id = request_id
        self._generations = generations
        self._generation: Generation | None = None
        self._future: Future[dict[str, Any]] | None = None
        #: Whether the request was cancelled. The thread that reads and plans it looks too.
        self.cancelled = threading.Event()

    def begin(self, generation: Generation, work: Callable[[], dict[str, Any]]) -> Future[dict[str, Any]]:
        """Queue ``work``, which carries out ``generation``. The place is given back when it ends, however it ends.

        The future is cancelled if the request was cancelled before its turn came. ``work`` then returns at once.
        """
        self._generation = generation
        try:
            self._future = generation.model.pool.submit(work)
        except RuntimeError:  # no thread could be started, or the server is ending
            # It may be queued all the same.
            generation.cancel()
            self.close("failed")
            raise
        if self.cancelled.is_set():
            self.cancel()
        self._future.add_done_callback(lambda done: self.close(_outcome(done)))
        return self._future

    def cancel(self) -> None:
        self.cancelled.set()
        if self._generation is not None:
            self._generation.cancel()
        if self._future is not None:
            self._future.cancel()

    def close(self, outcome: str) -> None:
        self._generations.give_back(self, outcome)


def _outcome(done: Future[dict[str, Any]]) -> str:
    if done.cancelled():
        return "cancelled"
    return "failed" if done.exception() is not None else str(done.result()["status"])


def fresh_id() -> str:
    return uuid.uuid4().hex
