"""Two processes that train together: one stream, one step, one writer; what one is told, both do."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch.distributed.tensor import DTensor

from midigpt_core.checkpoint import load_checkpoint, read_header
from midigpt_core.config.train import STRATEGIES
from midigpt_core.errors import ConfigError
from midigpt_core.training.loop.fsdp import lightning_strategy
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.planning.resume import step_files
from support.stopping import Run, Stop, joined, observed, outcome
from support.training import evaluations, metrics

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure

SETTINGS: dict[str, Any] = {"max_steps": 6, "accumulation": 2, "save_steps": 2, "eval_steps": 3}
TWO: dict[str, Any] = {**SETTINGS, "devices": 2, "strategy": "ddp"}
STOPPED = 128 + signal.SIGTERM


@pytest.fixture(scope="module")
def pair(shard: Path, tmp_path_factory: pytest.TempPathFactory, make_config: Configure) -> Run:
    """A run of two ranks without a stop."""
    run = Run(make_config(tmp_path_factory.mktemp("pair") / "run", batch_size=1, **TWO), shard, shard)
    assert run.ranks(2) == [0, 0]
    return run


def test_two_ranks_take_the_steps_of_one_with_twice_the_batch(pair: Run, configure: Configure, shard: Path) -> None:
    alone = Run(configure("alone", batch_size=2, **SETTINGS), shard, shard)
    assert alone.exit_code() == 0
    ours, theirs = metrics(alone.folder), metrics(pair.folder)
    assert [line["step"] for line in theirs] == [1, 2, 3, 4, 5, 6]
    for one, two in zip(ours, theirs, strict=True):
        assert (one["tokens"], one["learning_rate"]) == (two["tokens"], two["learning_rate"])
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-4)
    for one, two in zip(evaluations(alone.folder), evaluations(pair.folder), strict=True):
        assert one == {name: pytest.approx(value, rel=1e-5) for name, value in two.items()}
    ranks = zip(observed(pair.folder, 0), observed(pair.folder, 1), strict=True)
    assert [seen["rows"] for seen in observed(alone.folder)] == [[*a["rows"], *b["rows"]] for a, b in ranks]


def test_ranks_without_a_row_to_evaluate_wait_with_the_others(configure: Configure, shard: Path) -> None:
    changes: dict[str, Any] = {"max_steps": 2, "eval_steps": 1, "eval_rows": 3}
    pair = Run(configure("two", batch_size=3, devices=2, strategy="ddp", **changes), shard, shard)
    assert pair.ranks(2) == [0, 0]
    alone = Run(configure("one", batch_size=6, **changes), shard, shard)
    assert alone.exit_code() == 0
    assert [line["step"] for line in evaluations(pair.folder)] == [1, 2]
    for one, two in zip(evaluations(alone.folder), evaluations(pair.folder), strict=True):
        assert one == {name: pytest.approx(value, rel=1e-5) for name, value in two.items()}


def test_sigterm_to_one_rank_stops_both_and_both_continue(
    pair: Run, configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(configure("stopped", batch_size=1, **TWO), shard, shard)
    assert run.ranks(2, Stop(2, 0, signal.SIGTERM, rank=1)) == [STOPPED, STOPPED]
    assert capfd.readouterr().err.count("Stopped by SIGTERM after step 3 of 6.") == 1
    assert list(step_files(run.folder / "checkpoints")) == [2, 3]
    assert run.ranks(2) == [0, 0]
    assert outcome(run.folder) == outcome(pair.folder)
    assert not list(run.folder.rglob(".midigpt-tmp-*"))


@pytest.mark.parametrize("step", [3, pytest.param(6, id="the last")])
def test_a_stop_between_the_batches_of_an_evaluation_is_agreed_on(
    step: int, pair: Run, configure: Configure, shard: Path
) -> None:
    run = Run(configure(f"evaluating-{step}", batch_size=1, **TWO), shard, shard)
    assert run.ranks(2, Stop(step, 0, signal.SIGTERM, rank=1, in_evaluation=True)) == [STOPPED, STOPPED]
    assert max(step_files(run.folder / "checkpoints")) == step
    assert run.ranks(2) == [0, 0]
    assert outcome(run.folder) == outcome(pair.folder)


def test_a_rank_that_was_killed_is_named_in_a_line(
    configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(configure("killed", batch_size=1, **TWO), shard, shard)
    assert run.ranks(2, Stop(2, 0, signal.SIGKILL, rank=1)) == [2, -signal.SIGKILL]
    said = capfd.readouterr().err
    assert "Error: step 3: rank 1 ended, or did nothing for 600 s (collective_timeout)." in said
    assert "Traceback" not in said


def test_a_rank_that_stands_still_is_waited_for_as_long_as_is_said(
    configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = Run(configure("still", batch_size=1, collective_timeout=3, **TWO), shard, shard)
    first, second = run.started(2, Stop(2, 0, signal.SIGSTOP, rank=1))
    assert joined([first]) == [2]
    second.kill()
    second.join()
    said = capfd.readouterr().err
    assert "Error: step 3: rank 1 ended, or did nothing for 3 s (collective_timeout)." in said
    assert "Traceback" not in said


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_on_offer_trains(strategy: str, configure: Configure, shard: Path) -> None:
    run = Run(configure(strategy, batch_size=1, max_steps=2, devices=2, strategy=strategy), shard)
    assert run.ranks(2) == [0, 0]
    assert (run.folder / "model_final.pt").is_file()
    assert [line["step"] for line in metrics(run.folder)] == [1, 2]


def test_a_run_goes_on_with_fewer_ranks_on_the_same_rows(pair: Run, configure: Configure, shard: Path) -> None:
    config = configure("shrinking", batch_size=1, **TWO)
    run = Run(config, shard, shard)
    assert run.ranks(2, Stop(3, 1, signal.SIGTERM, rank=0)) == [STOPPED, STOPPED]
    # The same rows a step, in twice as many micro-batches.
    config.devices, config.accumulation, config.strategy = 1, 4, "auto"
    assert run.exit_code() == 0
    for one, two in zip(metrics(run.folder), metrics(pair.folder), strict=True):
        assert one["tokens"] == two["tokens"]
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
    assert [line["step"] for line in evaluations(run.folder)] == [3, 6]


def test_weights_in_shards_take_the_same_steps_and_write_the_same_files(
    pair: Run, configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingModule.on_train_start

    def on_train_start(self: TrainingModule) -> None:
        original(self)
        assert all(isinstance(parameter, DTensor) for parameter in self.parameters())

    monkeypatch.setattr(TrainingModule, "on_train_start", on_train_start)
    config = configure("sharded", batch_size=1, **{**TWO, "strategy": "fsdp"})
    run = Run(config, shard, shard)
    assert run.ranks(2, Stop(3, 0, signal.SIGTERM, rank=1)) == [STOPPED, STOPPED]
    assert run.ranks(2) == [0, 0]
    for one, two in zip(metrics(run.folder), metrics(pair.folder), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-3)
    for one, two in zip(evaluations(run.folder), evaluations(pair.folder), strict=True):
        assert one["eval_loss"] == pytest.approx(two["eval_loss"], rel=1e-4)
    sharded, replicated = (load_checkpoint(at.folder / "model_final.pt").state_dict for at in (run, pair))
    assert list(sharded) == list(replicated)
    for name, tensor in sharded.items():
        torch.testing.assert_close(tensor, replicated[name], rtol=1e-3, atol=1e-4)


def copies(folder: Path) -> list[dict[str, Any]]:
    """The copy rates in ``metrics.jsonl``."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [record for record in map(json.loads, lines) if "copies/training" in record]


WATCHED: dict[str, Any] = {"num_bars_choices": [4], "copy_limit": 2.0, "copy_excerpts": 2}


def test_two_ranks_measure_the_copies_that_one_measures(
    configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    two = Run(configure("two", batch_size=1, **TWO, **WATCHED), shard, shard)
    assert two.ranks(2, Stop(3, 0, signal.SIGTERM, rank=1)) == [STOPPED, STOPPED]
    assert two.ranks(2) == [0, 0]
    alone = Run(configure("alone", batch_size=2, **SETTINGS, **WATCHED), shard, shard)
    assert alone.exit_code() == 0
    assert [record["step"] for record in copies(two.folder)] == [3, 6]
    assert copies(two.folder) == copies(alone.folder)
    ours, theirs = (read_header(at.folder / "model_final.pt").provenance["copies"] for at in (two, alone))
    assert ours == theirs
    assert [path.name for path in two.folder.rglob("copies.npy")] == ["copies.npy"]
    assert "Traceback" not in capfd.readouterr().err


def test_a_rank_that_fails_in_the_copy_guard_ends_both(
    configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room for the index, which rank 0 builds before the first step; rank 1 waits for it then."""
    monkeypatch.setattr("midigpt_core.training.reporting.training_bars.host_memory", lambda: 100)
    run = Run(configure("full", batch_size=1, **TWO, **WATCHED), shard, shard)
    assert run.ranks(2) == [2, 2]
    said = capfd.readouterr().err
    assert "the copy index does not fit in 0 MiB" in said
    assert "Traceback" not in said


def test_a_measurement_that_fails_on_the_first_rank_ends_neither(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no figures")

    monkeypatch.setattr("midigpt_core.training.reporting.copy_guard.measure", fail)
    run = Run(configure("failing", batch_size=1, **TWO, **WATCHED), shard, shard)
    assert run.ranks(2) == [0, 0]
    assert [record["step"] for record in evaluations(run.folder)] == [3, 6]
    assert copies(run.folder) == []


def test_a_rank_that_is_killed_in_the_copy_guard_is_named(
    configure: Configure, shard: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr("midigpt_core.training.reporting.copy_guard.measure", end)
    run = Run(configure("killed", batch_size=1, **TWO, **WATCHED), shard, shard)
    assert run.ranks(2) == [-signal.SIGKILL, 2]
    said = capfd.readouterr().err
    assert "Error: step 4: rank 0 ended" in said
    assert "Traceback" not in said


def test_a_layout_that_cannot_be_is_an_error_in_a_line(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"strategy: no strategy named 'dpp'\. Did you mean 'ddp'"):
        prepare(configure(strategy="dpp"), shard)
    with pytest.raises(ConfigError, match="strategy: fsdp does not support precision fp16"):
        lightning_strategy(configure(strategy="fsdp"), "fp16")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"torchrun .*4 processes.* devices = 2 .*num_nodes = 1"):
        prepare(configure(devices=2), shard)
    prepare(configure(devices=2, num_nodes=2), shard)


def test_the_first_rank_makes_samples_while_the_other_waits(pair: Run, configure: Configure, shard: Path) -> None:
    sampled = Run(configure("sampled", batch_size=1, sample_steps=3, **TWO), shard, shard)
    assert sampled.ranks(2) == [0, 0]
    assert outcome(sampled.folder) == outcome(pair.folder)
    found = [path.relative_to(sampled.folder / "samples").as_posix() for path in sampled.folder.rglob("prompt*.mid")]
    assert sorted(found) == [f"step{step}/prompt{number}.mid" for step in (3, 6) for number in (1, 2, 3, 4)]
