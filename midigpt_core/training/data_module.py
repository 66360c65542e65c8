"""The token streams of a run as Lightning loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningDataModule

from midigpt_core.data.datasets import batches

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from torch import Tensor

    from midigpt_core.data.stream import StreamSpec
    from midigpt_core.training.clock import StepClock

    Batch = dict[str, Tensor]


class RunData(LightningDataModule):
    """Rows of the training stream from where the run stands, and the first rows of the evaluation stream.

    The whole state of the data side is the row that comes next: a row is a pure function of the seed and its index.
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
    ) -> None:
        super().__init__()
        self._training = training
        self._evaluation = evaluation
        self._batch_size = batch_size
        self._accumulation = accumulation
        self._eval_rows = eval_rows
        self._num_workers = num_workers
        self._clock = clock
        self._first_step = 0
        self._first_row = 0

    def train_dataloader(self) -> Iterable[Batch]:
        trainer = self.trainer
        loader = batches(
            self._training,
            batch_size=self._batch_size,
            first_row=self._first_row,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            num_workers=self._num_workers,
        )
        return _Timed(loader, self._clock)

    def val_dataloader(self) -> list[Batch]:
        """Made once and kept: every evaluation sees the same rows, and costs no encoding."""
        if self._evaluation is None:
            return []
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        return list(first_rows(self._evaluation, self._eval_rows, self._batch_size, rank=rank, world_size=world_size))

    def state_dict(self) -> dict[str, Any]:
        steps = self.trainer.global_step - self._first_step
        rows_per_step = self._batch_size * self._accumulation * self.trainer.world_size
        return {"step": self.trainer.global_step, "next_row": self._first_row + steps * rows_per_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._first_step = state_dict["step"]
        self._first_row = state_dict["next_row"]


def first_rows(spec: StreamSpec, rows: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
    """Rows 0 .. ``rows`` - 1 of a stream (those of ``rank``) in batches of up to ``batch_size``."""
    for batch in batches(spec, batch_size=batch_size, first_row=0, rank=rank, world_size=world_size):
        wanted = batch["row"] < rows
        if wanted.all():
            yield batch
            continue
        if wanted.any():
            yield {name: values[wanted] for name, values in batch.items()}
        return


class _Timed:
    """Batches, with the time that their consumer waits for them told to a clock."""

    def __init__(self, loader: Iterable[Batch], clock: StepClock) -> None:
        self._loader = loader
        self._clock = clock

    def __iter__(self) -> Iterator[Batch]:
        with self._clock.waiting():
            iterator = iter(self._loader)
        while True:
            with self._clock.waiting():
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch
