"""The token streams of a run as Lightning loaders."""

from __future__ import annotations

import math
from collections.abc import Generator
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from midigpt_core.data.datasets import batches
from midigpt_core.records import IGNORED_LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from lightning.pytorch import Trainer
    from torch import Tensor
    from torch.utils.data import Dataset

    from midigpt_core.data.stream import StreamSpec
    from midigpt_core.training.loop.repeat import StepBatches
    from midigpt_core.training.processes.clock import StepClock

    Batch = dict[str, Tensor]


class RunData(LightningDataModule):
    """Packed rows of the training stream from the current one on, and the first ones of the evaluation stream.

    The only state is the index of the next row: a row is a pure function of the seed and its index.
    """

    def __init__(
        self,
        training: StreamSpec,
        evaluation: StreamSpec | None,
        *,
        batch_size: int,
        accumulation: int,
        eval_rows: int,
        num_workers: int,
        clock: StepClock,
        repeated: StepBatches | None = None,
    ) -> None:
        """``repeated`` returns the batches of a step that is repeated; None: no step is repeated."""
        super().__init__()
        self._training = training
        self._evaluation = evaluation
        self._batch_size = batch_size
        self._accumulation = accumulation
        self._eval_rows = eval_rows
        self._num_workers = num_workers
        self._clock = clock
        self._repeated = repeated
        self._first_step = 0
        self._first_row = 0
        self._arriving: _Arriving | None = None

    def train_dataloader(self) -> Iterable[Batch]:
        trainer = self._attached
        self._arriving = _Arriving(
            partial(
                batches,
                self._training,
                batch_size=self._batch_size,
                first_row=self._first_row,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
                num_workers=self._num_workers,
            ),
            self._clock,
            self._repeated,
        )
        return self._arriving

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if self._repeated is None or not self._attached.training:
            return batch
        return self._repeated.take(batch)

    def val_dataloader(self) -> Iterable[Batch]:
        """The packed rows of the evaluation, encoded once and kept: every evaluation uses the same rows."""
        if self._evaluation is None:
            return []
        trainer = self._attached
        kept = first_rows(
            self._evaluation,
            self._eval_rows,
            self._batch_size,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
        )
        # Lightning would take a plain list for several loaders.
        return DataLoader(cast("Dataset[Batch]", list(kept)), batch_size=None)

    def state_dict(self) -> dict[str, Any]:
        trainer = self._attached
        rows_per_step = self._batch_size * self._accumulation * trainer.world_size
        next_row = self._first_row + (trainer.global_step - self._first_step) * rows_per_step
        return {"step": trainer.global_step, "next_row": next_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._first_step = state_dict["step"]
        self._first_row = state_dict["next_row"]

    @property
    def _attached(self) -> Trainer:
        """The trainer. It is set before Lightning calls any method that needs it."""
        return cast("Trainer", self.trainer)

    def close(self) -> None:
        """End the data workers, however the run ended."""
        if self._arriving is not None:
            self._arriving.close()


def first_rows(spec: StreamSpec, rows: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
    """The share of ``rank`` of packed rows 0 .. ``rows`` - 1 of a stream, in batches of up to ``batch_size``.

    Every rank gets the same number of batches, because ranks wait for one another in each. A rank without a row left
    gets a batch whose labels are all ignored.
    """
    count = math.ceil(rows / (batch_size * world_size))
    for batch in islice(batches(spec, batch_size=batch_size, first_row=0, rank=rank, world_size=world_size), count):
        wanted = batch["row"] < rows
        if wanted.any():
            yield {name: values[wanted] for name, values in batch.items()}
        else:
            first = {name: values[:1] for name, values in batch.items()}
            yield {**first, "labels": torch.full_like(first["labels"], IGNORED_LABEL)}


class _Arriving:
    """Iterates over batches and records in a clock the time spent waiting for them."""

    def __init__(self, start: Callable[[], Iterator[Batch]], clock: StepClock, repeated: StepBatches | None) -> None:
        self._start = start
        self._clock = clock
        self._repeated = repeated
        self._batches: Iterator[Batch] | None = None

    def __iter__(self) -> Iterator[Batch]:
        self.close()
        self._batches = self._start()
        return self

    def __next__(self) -> Batch:
        if self._batches is None:
            raise StopIteration
        promised = self._repeated.promise() if self._repeated is not None else None
        if promised is not None:
            return promised
        with self._clock.waiting():
            return next(self._batches)

    def close(self) -> None:
        if isinstance(self._batches, Generator):
            self._batches.close()
        self._batches = None
