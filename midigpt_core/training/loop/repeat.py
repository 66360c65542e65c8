"""The micro-batches of the step being taken, to be had again if the step has to be repeated."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    Batch = dict[str, Tensor]


class StepBatches:
    """Stands between the stream and the model. Lightning fetches one batch ahead, so what is repeated must pass it by.

    The loader asks :meth:`promise` before it takes a batch from the stream: while repeated ones wait, an empty batch
    goes the loader's way instead. Whatever comes out of the loader is exchanged by :meth:`take` for the batch whose
    turn it is.
    """

    def __init__(self) -> None:
        self._waiting: deque[Batch] = deque()
        #: Empty batches that are on their way.
        self._promised = 0
        self._taken: list[Batch] = []

    def promise(self) -> Batch | None:
        """An empty batch if one is waiting for it, else None: the stream's turn."""
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
        """The step was taken: its batches are not needed again."""
        self._taken.clear()

    def repeat(self) -> None:
        """Give the batches since the last :meth:`settle` once more."""
        self._waiting.extendleft(reversed(self._taken))
        self._taken.clear()
