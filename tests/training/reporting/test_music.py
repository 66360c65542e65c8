"""Measurements of music while a run goes: figures reach files, loggers and bundles, and the run does not notice."""

from __future__ import annotations

import json
import logging
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
import torch
from midigpt_encoder.encoder import MidigptEncoder
from midigpt_metrics.notes import _Density
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from midigpt_core.checkpoint import load_checkpoint, read_header
from midigpt_core.corpus.copy_index import read_copy_index
from midigpt_core.errors import ConfigError, PluginError, RunStopped
from midigpt_core.inference import session
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.training import curve, evaluations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.training import Configure

SETTINGS: dict[str, Any] = {"eval_steps": 2, "save_steps": 4, "num_bars_choices": [4], "max_steps": 6}
MUSIC: dict[str, Any] = {**SETTINGS, "music": 2, "music_pieces": 4, "metrics": ["note_density", "copy_rate"]}


def figures(run_dir: Path) -> dict[int, dict[str, float]]:
    """The music figures of a run by step."""
    records = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    of_music = {record["step"]: record for record in records if any(name.startswith("music/") for name in record)}
    return {step: {name: value for name, value in one.items() if name != "step"} for step, one in of_music.items()}


def losses(run_dir: Path) -> Any:
    return [one for one in evaluations(run_dir) if "eval_loss" in one]


def test_every_second_evaluation_and_the_last_is_measured_and_the_run_is_the_one_without(
    configure: Configure, shard: Path
) -> None:
    torch.manual_seed(5)
    without = train(configure("without", **SETTINGS), shard, shard)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    result = train(configure("with", **MUSIC, logger="tensorboard"), shard, shard)
    assert torch.equal(torch.get_rng_state(), state)
    assert curve(result.run_dir) == curve(without.run_dir)
    assert losses(result.run_dir) == losses(without.run_dir)
    weights, expected = load_checkpoint(result.bundle).state_dict, load_checkpoint(without.bundle).state_dict
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())

    found = figures(result.run_dir)
    assert list(found) == [4, 6]
    assert {"music/note_density", "music/copy_rate"} <= {*found[6]}
    events = EventAccumulator(str(result.run_dir / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("music/copy_rate")] == [4, 6]
    metrics = read_header(result.bundle).provenance["metrics"]
    assert metrics["eval_loss"] > 0
    assert {name: metrics[name] for name in found[6]} == found[6]
    plan = prepare(configure("another", **SETTINGS), shard, shard)
    assert read_copy_index(result.run_dir / "copies.npy").corpus == plan.train_pieces.fingerprint


def test_a_run_that_goes_on_measures_the_same(configure: Configure, shard: Path) -> None:
    whole = train(configure("whole", **MUSIC), shard, shard)
    train(configure("parts", **{**MUSIC, "max_steps": 4}), shard, shard)
    continued = train(configure("parts", **MUSIC), shard, shard, resume="auto")
    # A shorter run has another schedule; the figures of the step that both took alike are equal.
    again = train(configure("whole", **MUSIC), shard, shard, resume=whole.run_dir / "checkpoints" / "step4.ckpt")
    assert figures(again.run_dir)[6] == figures(whole.run_dir)[6]
    assert [*figures(continued.run_dir)] == [4, 6]


def test_a_metric_that_fails_is_a_warning(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(self: _Density, music: object) -> Any:
        raise RuntimeError("out of\nluck")

    monkeypatch.setattr(_Density, "measure", measure)
    with caplog.at_level(logging.WARNING, "midigpt_core.training"):
        assert train(configure(**MUSIC), shard, shard).steps == 6
    assert [record.message for record in caplog.records if record.message.startswith("music")] == [
        f"music is not measured at step {step}: ComponentError: metric 'note_density' of midigpt-core 0.1.0 failed "
        "(on 4 excerpts): RuntimeError: out of luck"
        for step in (4, 6)
    ]


def test_an_index_without_room_leaves_copies_out(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midigpt_core.training.reporting.training_bars.host_memory", lambda: 100)
    result = train(configure(**MUSIC), shard, shard)
    assert {*figures(result.run_dir)[6]} == {"music/note_density"}
    (said,) = [record.message for record in caplog.records if "copies" in record.message]
    assert "music_copy_sample" in said


def test_a_signal_ends_a_measurement(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Callable[..., Any] = session.generate
    calls: list[int] = []

    def generate(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **more)

    monkeypatch.setattr(session, "generate", generate)
    config = configure(**{**MUSIC, "music": 1})
    with pytest.raises(RunStopped, match="after step 3"):
        train(config, shard, shard)
    assert len(calls) == 1
    assert figures(shard.parent / config.output_dir) == {}
    assert not [record for record in caplog.records if record.message.startswith("music")]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"metrics": ["copy_rates"]}, PluginError, r"no metric named 'copy_rates'\. Did you mean 'copy_rate'\?"),
        ({"metrics": [{"name": "groove", "grit": 3}]}, ConfigError, r"metric\.grit.*Did you mean 'grid'"),
    ],
)
def test_a_wrong_metric_is_refused_before_anything_is_read(
    configure: Configure, shard: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prepare(configure(**{**MUSIC, **changes}), shard / "absent", shard)


def test_a_run_that_cannot_measure_is_refused(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="music: there are no evaluations"):
        prepare(configure(**MUSIC), shard)
    monkeypatch.setattr(MidigptEncoder, "grammar", lambda _: None)
    with pytest.raises(ConfigError, match="music: the encoder has no grammar"):
        prepare(configure(**MUSIC), shard, shard)
