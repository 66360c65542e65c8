"""fp16: a step whose gradients overflow is skipped, counted and taken again, and nothing has advanced meanwhile.

The gradient scaler is PyTorch's own. On the CPU gradients are float32 with no more than fp16's range: what is beyond it
becomes infinite. Scales are powers of two: a run whose scale is too high at first must come out as the run whose scale
was right, to the last bit.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision

from midigpt_core.errors import TrainingError
from midigpt_core.training import run as run_module
from midigpt_core.training.loop import lightning_trainer
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.loop.repeat import StepBatches
from midigpt_core.training.planning.resume import step_files
from midigpt_core.training.run import train
from support.stopping import Run, Stop, outcome
from support.training import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.training import Configure

SETTINGS: dict[str, Any] = {"max_steps": 9, "accumulation": 2, "save_steps": 2, "eval_steps": 3, "precision": "fp16"}

#: The largest gradients are near 0.1, the largest number of fp16 is 65504.
TOO_HIGH = 2.0**24
RIGHT = 2.0**10


class RangeOfHalf(MixedPrecision):
    """fp16's range without its rounding."""

    def __init__(self, scale: float, growth_interval: int, largest: float) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=growth_interval)
        super().__init__("16-mixed", "cpu", scaler)
        self._largest = largest

    def autocast_context_manager(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)

    def optimizer_step(self, optimizer: Any, model: Any, closure: Callable[[], Any], **rest: Any) -> Any:
        def overflowing() -> Any:
            result = closure()
            for parameter in model.parameters():
                parameter.grad[parameter.grad.abs() > self._largest] = torch.inf
            return result

        return super().optimizer_step(optimizer, model, overflowing, **rest)


@pytest.fixture
def scaled(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give the runs of this process, and of those forked from it, a loss scale."""

    def scale(at: float, growth_interval: int = 10**6, largest: float = torch.finfo(torch.half).max) -> None:
        def trainer(*, precision: str, plugins: list[Any], **settings: Any) -> Trainer:
            assert precision == "16-mixed"
            return Trainer(plugins=[*plugins, RangeOfHalf(at, growth_interval, largest)], **settings)

        monkeypatch.setattr(lightning_trainer, "Trainer", trainer)
        monkeypatch.setattr(run_module, "_precision", lambda config: config.precision)

    return scale


def skipped(folder: Path) -> list[int]:
    return [line["overflows"] for line in metrics(folder)]


@pytest.fixture
def expected(configure: Configure, shard: Path, scaled: Callable[..., None]) -> dict[str, Any]:
    scaled(RIGHT)
    run = Run(configure("right", **SETTINGS), shard, shard)
    assert run.exit_code() == 0
    assert skipped(run.folder) == [0] * 9
    return outcome(run.folder)


def test_a_skipped_step_advances_nothing(
    configure: Configure, shard: Path, scaled: Callable[..., None], expected: dict[str, Any]
) -> None:
    scaled(TOO_HIGH)
    run = Run(configure("overflowing", num_workers=2, **SETTINGS), shard, shard)
    assert run.exit_code() == 0
    overflows = skipped(run.folder)
    assert overflows[0] > 1
    assert overflows[1:] == [0] * 8
    assert outcome(run.folder) == expected
    # The scale doubles after every step: it overflows again and again, at checkpoints and evaluations too.
    scaled(TOO_HIGH, growth_interval=1)
    run = Run(configure("growing", **SETTINGS), shard, shard)
    assert run.exit_code() == 0
    assert sum(count > 0 for count in skipped(run.folder)[1:]) >= 4
    assert outcome(run.folder) == expected


def test_it_is_so_for_a_run_that_is_stopped_in_between_too(
    configure: Configure, shard: Path, scaled: Callable[..., None], expected: dict[str, Any]
) -> None:
    scaled(TOO_HIGH, growth_interval=1)
    run = Run(configure("stopped", **SETTINGS), shard, shard)
    # The first attempt at the first step, which is skipped; then the first at the fourth.
    assert run.exit_code(Stop(0, 1, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert list(step_files(run.folder / "checkpoints")) == [0]
    assert run.exit_code(Stop(3, 0, signal.SIGTERM)) == 128 + signal.SIGTERM
    assert run.exit_code(Stop(5, 1, signal.SIGKILL)) == -signal.SIGKILL
    assert run.exit_code() == 0
    assert outcome(run.folder) == expected


def overflow_from(step: int, patch: pytest.MonkeyPatch) -> None:
    """Every gradient is infinite after ``step`` steps, whatever the scale."""
    original = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = original(self, batch, batch_idx)
        if self.trainer.global_step >= step:
            loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss

    patch.setattr(TrainingModule, "training_step", training_step)


@pytest.mark.parametrize(
    ("scale", "words"), [(2.0**60, "20 times one after another.* 1.09951e.12"), (2.0, "2 times .* 0.5")]
)
def test_an_overflow_that_lasts_is_an_error(
    configure: Configure, shard: Path, scaled: Callable[..., None], scale: float, words: str
) -> None:
    scaled(scale, largest=torch.inf)
    config = configure(save_steps=2, precision="fp16")
    with pytest.MonkeyPatch.context() as patch:
        overflow_from(3, patch)
        with pytest.raises(
            TrainingError, match=rf"step 4: the gradients overflow fp16, {words} \(.*train\.parquet, row"
        ):
            train(config, shard)
    assert [line["step"] for line in metrics(Path(config.output_dir))] == [1, 2, 3]
    assert list(step_files(Path(config.output_dir) / "checkpoints")) == [2]


def test_batches_are_repeated_in_order_whatever_is_fetched_ahead() -> None:
    stream = iter(range(1, 100))
    batches = StepBatches()

    def fetch() -> dict[str, int]:
        promised = batches.promise()
        return {"row": next(stream)} if promised is None else promised

    ahead = fetch()
    seen = []
    # Steps of three micro-batches, those at 1 repeated twice and at 3 once.
    for attempt, repeated in enumerate([False, True, True, False, True, False, False]):
        for _ in range(3):
            arrived, ahead = ahead, fetch()
            seen.append((attempt, batches.take(arrived)["row"]))
        (batches.repeat if repeated else batches.settle)()
    rows = [[row for at, row in seen if at == attempt] for attempt in range(7)]
    assert rows == [[1, 2, 3], [4, 5, 6], [4, 5, 6], [4, 5, 6], [7, 8, 9], [7, 8, 9], [10, 11, 12]]
