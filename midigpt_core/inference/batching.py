"""Reads what sessions in several threads read at the same time in one batch: each read of the weights serves all.

The sessions know nothing of each other. Each has its own thread, prompts, grammar, checks and callbacks; only
:meth:`SharedSequences.step` meets the steps of other threads. The first thread that finds nobody reading reads for all
that have arrived. Before that it waits for as many as the last batch had, for no longer than that batch took and
:data:`_LONGEST_WAIT_S`. So a session that ends, or is busy with something else, delays the others once by that time.

A session's music does not depend on the batch, because its logits do not (docs/generation.md).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midigpt_core.contracts import SequenceBatch, SequenceReader, Sequences
    from midigpt_core.records import Float32Array, Int32Array, Int64Array

_LONGEST_WAIT_S = 0.005


class _Step:
    """One thread's step, until it is read."""

    def __init__(self, item: tuple[Any, ...]) -> None:
        self.item = item
        self.done = False
        #: Until it is read.
        self.error: Exception | None = RuntimeError("the batch of a step was interrupted")


class SharedReader:
    """A :class:`~midigpt_core.contracts.SequenceReader` for several threads, on ``reader``."""

    def __init__(self, reader: SequenceReader) -> None:
        self._reader = reader
        make: Any = getattr(reader, "batch", None)
        #: None: the reader reads one step after another.
        self._batch: SequenceBatch | None = None if make is None else make()
        lock = threading.Lock()
        #: Notified when steps were read, and when enough have arrived to read.
        self._read = threading.Condition(lock)
        self._arrived = threading.Condition(lock)
        self._reading = False
        self._waiting: list[_Step] = []
        #: Steps of the last batch: as many are expected again.
        self._expected = 1
        #: Until when they are waited for.
        self._wait_until = 0.0
        #: Batches and steps read so far.
        self.batches = 0
        self.steps = 0

    def open(self, count: int, capacity: int) -> SharedSequences:
        opened = self._reader if self._batch is None else self._batch
        return SharedSequences(self, opened.open(count, capacity))

    def step(self, *item: Any) -> None:
        """Read a step, with those of other threads. Raises what reading it raises."""
        step = _Step(item)
        with self._read:
            self._waiting.append(step)
            if len(self._waiting) >= self._expected:
                self._arrived.notify()
            while not step.done:
                if self._reading:
                    self._read.wait()
                else:
                    self._lead()
        if step.error is not None:
            raise step.error

    def _lead(self) -> None:
        """Read all waiting steps; the lock is held before and after."""
        self._reading = True
        while len(self._waiting) < self._expected:
            left = self._wait_until - time.perf_counter()
            if left <= 0 or not self._arrived.wait(left):
                break
        steps, self._waiting = self._waiting, []
        self._read.release()
        started = time.perf_counter()
        try:
            self._carry_out(steps)
        finally:
            ended = time.perf_counter()
            self._read.acquire()
            self._reading = False
            self._expected = len(steps)
            self._wait_until = ended + min(ended - started, _LONGEST_WAIT_S)
            self.batches += 1
            self.steps += len(steps)
            for step in steps:
                step.done = True
            self._read.notify_all()

    def _carry_out(self, steps: list[_Step]) -> None:
        if not self._carry_out_together(steps):
            for step in steps:
                self._carry_out_alone(step)

    def _carry_out_together(self, steps: list[_Step]) -> bool:
        """False: nothing was read. There is no batch, or one of the steps is wrong, which must not end the others."""
        if self._batch is None:
            return False
        error: Exception | None = None
        try:
            self._batch.step([step.item for step in steps])
        except ValueError:
            return False
        except Exception as failure:  # noqa: BLE001
            error = failure
        for step in steps:
            step.error = error
        return True

    def _carry_out_alone(self, step: _Step) -> None:
        sequences, *arguments = step.item
        try:
            if self._batch is None:
                sequences.step(*arguments)
            else:
                self._batch.step([step.item])
        # A model of a plugin can raise anything. It is raised again where the step was requested.
        except Exception as error:  # noqa: BLE001
            step.error = error
        else:
            step.error = None


class SharedSequences:
    """See :class:`midigpt_core.contracts.Sequences`."""

    def __init__(self, reader: SharedReader, sequences: Sequences) -> None:
        self._reader = reader
        self._sequences = sequences

    def step(self, tokens: Int32Array, positions: Int32Array, offsets: Int64Array, logits: Float32Array) -> None:
        self._reader.step(self._sequences, tokens, positions, offsets, logits)

    def fork(self, sources: Int64Array) -> SharedSequences:
        return SharedSequences(self._reader, self._sequences.fork(sources))
