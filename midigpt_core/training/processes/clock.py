"""Measures how the time of a step is spent."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class StepClock:
    """Wall time of optimiser steps, without pauses (validation, saving), and the part spent waiting for data."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._paused_at: float | None = None
        self.restart()

    def restart(self) -> None:
        """Begin a step now."""
        self._begun = self._now()
        self._waited = 0.0

    def lap(self) -> tuple[float, float]:
        """Seconds since the step began, and how many of them were spent waiting for data. Begins the next step."""
        seconds, waited = self._now() - self._begun, self._waited
        self.restart()
        return seconds, waited

    def pause(self) -> None:
        self._paused_at = self._now()

    def resume(self) -> None:
        if self._paused_at is not None:
            self._begun += self._now() - self._paused_at
            self._paused_at = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        self.pause()
        try:
            yield
        finally:
            self.resume()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time inside as waiting for data."""
        begun = self._now()
        try:
            yield
        finally:
            self._waited += self._now() - begun
