"""Keeps the micro-batches of the current step, in case the step has to be repeated."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Batch = dict[str, Tensor]


class StepBatches:
    """A queue between the stream and the model. Lightning prefetches one batch, so repeated batches bypass the loader.

    The loader calls :meth:`promise` before it takes a batch from the stream. While repeated batches are waiting, it
    gets an empty batch instead. :meth:`take` exchanges every batch from the loader for the next one in the queue.
    """

    def __init__(self) -> None:
        self._waiting: deque[Batch] = deque()
        #: Empty batches that are still in the loader.
        self._promised = 0
        self._taken: list[Batch] = []

    def promise(self) -> Batch | None:
        """An empty batch if a repeated one is waiting, else None: take one from the stream."""
        if len(self._waiting) <= self._promised:
            return None
        self._promised += 1
        return {}

    def take(self, arrived: Batch) -> Batch:
        if arrived:
            self._waiting.append(arrived)
        else:
            self._promised -= 1
        batch = self._waiting.popleft()
        self._taken.append(batch)
        return batch

    def settle(self) -> None:
        """Drop the batches of the step, which was taken."""
        self._taken.clear()

    def repeat(self) -> None:
        """Queue the batches since the last :meth:`settle` again."""
        self._waiting.extendleft(reversed(self._taken))
        self._taken.clear()
