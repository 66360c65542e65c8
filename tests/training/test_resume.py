"""A run that was stopped and continued is the run that was not, to the last bit."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from training_parts import curve, evaluations

from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.errors import CheckpointError
from midigpt_core.training.module import TrainingModule
from midigpt_core.training.run import train

if TYPE_CHECKING:
    from training_parts import Configure

    from midigpt_core.config import TrainConfig


class Stopped(Exception):
    pass


def stop_at(patch: pytest.MonkeyPatch, step: int, micro_batch: int, how: Any) -> None:
    """Have ``how()`` called in the given micro-batch (from 0) after ``step`` optimiser steps."""
    original = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == step and batch_idx % self.trainer.accumulate_grad_batches == micro_batch:
            how()
        return original(self, batch, batch_idx)

    patch.setattr(TrainingModule, "training_step", training_step)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def give_up() -> None:
    raise Stopped


def train_and_die(config: TrainConfig, shard: Path, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, step, 1, die)
        train(config, shard, shard, resume="auto")


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"max_steps": 9, "accumulation": 2, "save_steps": 2, "eval_steps": 3, "keep_checkpoints": 9}


def weights(bundle: Path) -> dict[str, torch.Tensor]:
    return dict(load_checkpoint(bundle).state_dict)


def test_killed_twice_in_mid_accumulation_and_continued(
    configure: Configure, shard: Path, settings: dict[str, Any]
) -> None:
    whole = train(configure("whole", **settings), shard, shard)
    config = configure("killed", **settings)
    for step in (3, 7):
        # Forked, with one thread: a fresh interpreter would spend its time on imports.
        child = multiprocessing.get_context("fork").Process(target=train_and_die, args=(config, shard, step))
        child.start()
        child.join(60)
        assert child.exitcode == -signal.SIGKILL
    continued = train(config, shard, shard, resume="auto")
    assert curve(continued.run_dir) == curve(whole.run_dir)
    assert evaluations(continued.run_dir) == evaluations(whole.run_dir)
    expected = weights(whole.bundle)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(continued.bundle).items())


@pytest.mark.parametrize("step", [2, 5])
def test_continued_with_other_workers_from_any_checkpoint(
    configure: Configure, shard: Path, settings: dict[str, Any], step: int
) -> None:
    whole = train(configure("whole", **settings), shard)
    config = configure("stopped", **settings)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, step, 0, give_up)
        with pytest.raises(Stopped):
            train(config, shard)
    config.num_workers = 2
    checkpoint = Path(config.output_dir) / "checkpoints" / f"step{step - step % 2}.ckpt"
    continued = train(config, shard, resume=checkpoint)
    assert curve(continued.run_dir) == curve(whole.run_dir)


def test_a_run_does_not_start_over_an_older_one(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=3, save_steps=2)
    train(config, shard)
    with pytest.raises(CheckpointError, match="--resume auto"):
        train(config, shard)


def test_a_longer_run_continues_a_finished_one(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=4, save_steps=4, scheduler="constant_with_warmup")
    train(config, shard)
    config.max_steps = 8
    longer = train(config, shard, resume="auto")
    whole = train(configure("whole", max_steps=8, scheduler="constant_with_warmup"), shard)
    assert curve(longer.run_dir) == curve(whole.run_dir)


def test_another_model_or_encoder_is_refused_by_its_first_field(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=2, save_steps=2)
    train(config, shard)
    config.max_steps, config.n_layer = 4, 2
    with pytest.raises(CheckpointError, match=r"architecture_config\.n_layer is 1, but 2 in this run"):
        train(config, shard, resume="auto")
    config.n_layer, config.encoder_config_path = 1, "ghost"
    with pytest.raises(CheckpointError, match=r"architecture_config\.vocab_size|encoder_config\."):
        train(config, shard, resume="auto")


def test_other_data_is_said(
    configure: Configure, shard: Path, eval_shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(max_steps=2, save_steps=2)
    train(config, shard)
    config.max_steps = 3
    train(config, eval_shard, resume="auto")
    assert any("corpus was" in record.message and "bit for bit" in record.message for record in caplog.records)
