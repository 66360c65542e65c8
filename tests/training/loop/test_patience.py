"""A run ends once its evaluation loss has not fallen for as many evaluations as ``patience``."""

from __future__ import annotations

import math
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.errors import ConfigError, RunStopped
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.planning.resume import step_files
from midigpt_core.training.run import train
from support.training import curve

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure

#: So small that no weight changes in float32: no evaluation has a lower loss than the first.
SETTINGS: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 1e-30,
    "weight_decay": 0.0,
    "max_steps": 8,
    "eval_steps": 1,
    "save_steps": 100,
    "patience": 2,
}


def test_a_run_ends_early_and_its_last_step_is_saved(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = train(configure(**SETTINGS), shard, shard)
    assert (result.steps, result.ended_early) == (3, True)
    assert list(step_files(result.run_dir / "checkpoints")) == [3]
    assert result.best_bundle is not None
    assert "the run ends after step 3 of 8: 2 evaluations in a row had no lower loss" in caplog.text

    again = train(configure(**SETTINGS), shard, shard, resume="auto")
    assert (again.steps, again.steps_before, again.ended_early) == (3, 3, True)
    longer = train(configure(**{**SETTINGS, "patience": 4}), shard, shard, resume="auto")
    assert (longer.steps, longer.steps_before, longer.ended_early) == (5, 3, True)


def test_an_evaluation_that_is_no_number_has_no_lower_loss(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TrainingModule.log

    def broken(self: TrainingModule, name: str, value: Any, **more: Any) -> None:
        log(self, name, math.nan if name == "eval_loss" and self.trainer.global_step > 1 else value, **more)

    monkeypatch.setattr(TrainingModule, "log", broken)
    result = train(configure(**SETTINGS), shard, shard)
    assert (result.steps, result.ended_early) == (3, True)
    assert "the run ends after step 3 of 8: 2 evaluations in a row had no lower loss" in caplog.text


def test_a_resumed_run_ends_at_the_same_step(configure: Configure, shard: Path) -> None:
    settings = {**SETTINGS, "save_steps": 2}
    whole = train(configure("whole", **settings), shard, shard)
    resumed = train(configure("whole", **settings), shard, shard, resume=whole.run_dir / "checkpoints" / "step2.ckpt")
    assert (resumed.steps, resumed.steps_before) == (3, 2)
    assert curve(resumed.run_dir) == curve(whole.run_dir)


def test_an_evaluation_that_a_signal_ended_counts_once(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingModule.validation_step

    def validation_step(self: TrainingModule, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step == 2 and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingModule, "validation_step", validation_step)
        with pytest.raises(RunStopped, match="after step 2 of 8"):
            train(configure(**SETTINGS), shard, shard)
    resumed = train(configure(**SETTINGS), shard, shard, resume="auto")
    assert (resumed.steps, resumed.steps_before, resumed.ended_early) == (3, 2, True)


def test_a_run_whose_loss_falls_does_not_end_early(configure: Configure, shard: Path) -> None:
    result = train(configure(max_steps=4, eval_steps=2, patience=2), shard, shard)
    assert (result.steps, result.ended_early) == (4, False)


def test_without_evaluations_it_is_refused(configure: Configure, shard: Path) -> None:
    with pytest.raises(ConfigError, match="patience: there are no evaluations"):
        prepare(configure(patience=2), shard)
