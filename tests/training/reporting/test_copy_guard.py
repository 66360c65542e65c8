"""Copies are measured at every evaluation; the run is the same, and the best step is below the limit."""

from __future__ import annotations

import json
import logging
import os
import signal
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from midigpt_encoder.encoder import MidigptEncoder

from midigpt_core.checkpoint import load_checkpoint, read_header
from midigpt_core.checkpoint.copy_rates import copy_rates
from midigpt_core.corpus import copy_index
from midigpt_core.corpus.copy_index import build_copy_index, pieces_digest, read_copy_index
from midigpt_core.corpus.store import open_corpus
from midigpt_core.errors import ConfigError, DataError, RunStopped
from midigpt_core.files import WriteError
from midigpt_core.inference import session
from midigpt_core.music.measuring import MusicReport
from midigpt_core.records import Figure
from midigpt_core.training.keeping.retention import CheckpointFolder
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.reporting import copy_guard
from midigpt_core.training.reporting.copy_rates import CopyRate, CopyReport
from midigpt_core.training.run import train
from support.training import curve, evaluations, write_shard

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure

SETTINGS: dict[str, Any] = {"eval_steps": 2, "save_steps": 2, "num_bars_choices": [4], "max_steps": 6}
WATCHED: dict[str, Any] = {**SETTINGS, "copy_limit": 2.0, "copy_excerpts": 2}


def rates(run_dir: Path) -> dict[int, dict[str, float]]:
    """The copy rates of a run by step."""
    records = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return {record["step"]: record for record in records if any(name.startswith("copies/") for name in record)}


def losses(run_dir: Path) -> Any:
    return [one for one in evaluations(run_dir) if "eval_loss" in one]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "copies" in record.message]


def test_every_evaluation_is_measured_and_the_run_is_the_one_without(configure: Configure, shard: Path) -> None:
    base = train(configure("base", **SETTINGS), shard, shard).bundle
    torch.manual_seed(5)
    without = train(configure("without", **SETTINGS, init_from=str(base)), shard, shard)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    result = train(configure("with", **WATCHED, init_from=str(base)), shard, shard)
    assert torch.equal(torch.get_rng_state(), state)
    assert curve(result.run_dir) == curve(without.run_dir)
    assert losses(result.run_dir) == losses(without.run_dir)
    weights, expected = load_checkpoint(result.bundle).state_dict, load_checkpoint(without.bundle).state_dict
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())

    assert list(rates(result.run_dir)) == [2, 4, 6]
    recorded = read_header(result.bundle).provenance["copies"]
    assert recorded["limit"] == 2.0
    assert {"model", "base", "own", "bars"} == {*recorded["held_out"]}
    # The evaluation pieces are those that are trained on.
    assert recorded["held_out"]["own"] == 1.0
    assert recorded["training"]["model"] == rates(result.run_dir)[6]["copies/training"]
    assert len(list(copy_rates(read_header(result.bundle).provenance))) == 2
    assert result.copies is not None
    assert (result.run_dir / "copies.npy").is_file()


def test_a_run_that_goes_on_measures_the_same_and_the_base_once(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = train(configure("base", **SETTINGS), shard, shard).bundle
    settings = {**WATCHED, "init_from": str(base)}
    whole = train(configure("whole", **settings), shard, shard)
    found = rates(whole.run_dir)
    wanted = read_header(whole.bundle).provenance["copies"]
    again: list[Any] = []
    monkeypatch.setattr(copy_guard.InferenceEngine, "from_checkpoint", again.append)
    resumed = train(configure("whole", **settings), shard, shard, resume=whole.run_dir / "checkpoints" / "step2.ckpt")
    assert rates(resumed.run_dir) == found
    assert read_header(resumed.bundle).provenance["copies"] == wanted
    assert again == []


def test_a_measurement_that_a_signal_ended_is_made_up(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(configure("whole", **WATCHED), shard, shard)
    original = session.generate

    def generate(*arguments: Any, **more: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(session, "generate", generate)
        with pytest.raises(RunStopped, match="after step 3"):
            train(configure("parts", **WATCHED), shard, shard)
    resumed = train(configure("parts", **WATCHED), shard, shard, resume="auto")
    found = rates(whole.run_dir)
    assert {step: rates(resumed.run_dir)[step] for step in (4, 6)} == {step: found[step] for step in (4, 6)}
    assert curve(resumed.run_dir) == curve(whole.run_dir)


def test_a_step_without_rates_is_not_preferred_to_one_above_the_limit(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 2 would be the best if nothing were known of any step."""
    measured = iter([None, *[CopyRate(value=0.9, bars=20, own=0.25)] * 8])

    def measure(_self: Any, _engine: Any) -> dict[str, CopyRate]:
        rate = next(measured)
        return {} if rate is None else {"held_out": rate, "training": rate}

    monkeypatch.setattr(copy_guard.CopyGuard, "_measured", measure)
    result = train(configure(**WATCHED), shard, shard)
    assert result.best_bundle is not None
    assert result.best_bundle.name != "model-step2.pt"
    assert result.copies is not None
    assert result.copies.excess > 0


def test_above_the_limit_the_run_warns_once_and_the_best_step_is_below_it(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of training pieces; of held-out pieces 25 % each time.
    values = iter([0.25, 0.75, 0.8, 0.25, 0.75, 0.8])

    def measure(*_arguments: Any, **_more: Any) -> MusicReport:
        nonlocal odd
        odd = not odd
        value = next(values) if odd else 0.25
        figure = Figure(value=value, count=20, baseline=0.25, is_share=True)
        return MusicReport(figures={"copy_rate": figure}, excerpts=2, pieces=2, bars=20, requests=0)

    odd = False
    monkeypatch.setattr(copy_guard, "measure", measure)
    with caplog.at_level(logging.WARNING, "midigpt_core.training"):
        result = train(configure(**WATCHED), shard, shard)
    by_step = {one["step"]: one["eval_loss"] for one in losses(result.run_dir)}
    # The loss falls, but the later steps copy.
    assert min(by_step, key=by_step.__getitem__) != 2
    assert result.best_bundle is not None
    assert result.best_bundle.name == "model-step2.pt"
    assert result.copies is not None
    assert result.copies.excess == 0
    (line,) = [text for text in said(caplog) if "limit" in text]
    assert "after step 4, 75% of 20 bars" in line
    assert "the limit is 50% (copy_limit 2)" in line


def test_what_is_allowed() -> None:
    own = CopyRate(value=0.3, bars=40, own=0.2)
    training = CopyRate(value=0.45, bars=40, own=1.0)
    found = {"held_out": own, "training": training}
    assert CopyReport(rates=found, base={}, limit=2.0).excess == pytest.approx(0.05)
    # What the base copies there is allowed.
    assert CopyReport(rates=found, base={"training": training}, limit=2.0).excess == 0
    assert CopyReport(rates=found, base={"held_out": training}, limit=1.0).excess == pytest.approx(0.25)
    # One bar of a few is chance, two are not.
    for bars, excess in ((1, 0.0), (2, 0.1)):
        few = {"held_out": CopyRate(value=bars / 20, bars=20, own=0.0)}
        assert CopyReport(rates=few, base={}, limit=2.0).excess == pytest.approx(excess)
    # Nor is there a verdict without held-out bars to compare with.
    assert CopyReport(rates={"training": training}, base={}, limit=2.0).excess == 0


def test_the_best_step_is_the_one_that_copies_least_if_all_are_above(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=1, bundle_suffix=".pt")
    for step in (1, 2, 3):
        folder.checkpoint(step).touch()
    found = {1: 3.0, 2: 2.0, 3: 1.0}
    assert folder.best(found) == 3
    assert folder.best(found, {1: 0.0, 2: 0.0, 3: 0.1}.__getitem__) == 2
    assert folder.best(found, {1: 0.1, 2: 0.2, 3: 0.3}.__getitem__) == 1


@pytest.mark.parametrize("name", ["deduplicate", "eval_share"])
def test_the_index_is_of_the_pieces_that_are_trained_on(
    name: str, configure: Configure, midi_files: list[Path], tmp_path: Path
) -> None:
    """Another choice of pieces makes another index, and rates that were measured with the first are not taken over."""
    data = write_shard(tmp_path / "data.parquet", [*midi_files, midi_files[0]])
    settings: dict[str, Any] = {**WATCHED, "eval_share": 0.3}
    first = train(configure(**{**settings, "max_steps": 2}), data)
    before = read_copy_index(first.run_dir / "copies.npy")
    changed = {"deduplicate": "exact"} if name == "deduplicate" else {"eval_share": 0.5}
    config = configure(**{**settings, **changed, "max_steps": 4})
    resumed = train(config, data, resume="auto")
    index = read_copy_index(resumed.run_dir / "copies.npy")
    spec = prepare(config, data, resume="auto").training
    assert index.pieces == pieces_digest(spec.pieces) != before.pieces
    built = build_copy_index(open_corpus(spec.shards), spec.pieces, most_bytes=1 << 30)
    assert built is not None
    assert np.array_equal(index.fingerprints, built.fingerprints)
    lines = (resumed.run_dir / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line)["step"] for line in lines if "copies/" in line]
    assert steps == [2, 2, 4]


def test_an_index_that_cannot_be_read_is_built_again(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(configure(**{**WATCHED, "max_steps": 2}), shard, shard)
    path = first.run_dir / "copies.npy"
    good = path.read_bytes()
    path.write_bytes(good[:-5])
    train(configure(**{**WATCHED, "max_steps": 4}), shard, shard, resume="auto")
    assert path.read_bytes() == good
    assert f"{path} cannot be read as a copy index. It is built again." in caplog.text


def test_without_room_for_the_index_the_run_does_not_start(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("midigpt_core.training.reporting.training_bars.host_memory", lambda: 100)
    config = configure(**WATCHED)
    with pytest.raises(DataError, match=r"the copy index does not fit in 0 MiB.*music_copy_sample, now 1\.") as caught:
        train(config, shard, shard)
    assert "\n" not in str(caught.value)
    folder = prepare(config, shard, shard).run_dir
    assert not [path for path in folder.rglob("*") if path.suffix in (".pt", ".ckpt", ".npy", ".json", ".jsonl")]


def test_an_index_that_was_not_written_whole_is_not_there(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copy_index, "_numpy_header", full)
    config = configure(**WATCHED)
    with pytest.raises(WriteError, match=r"copies\.npy: the disk is full\. Free some space"):
        train(config, shard, shard)
    assert not list(prepare(config, shard, shard).run_dir.rglob("*.npy*"))


def test_a_run_that_cannot_measure_is_refused(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match="copy_limit: there are no evaluations"):
        prepare(configure(**WATCHED), shard)
    monkeypatch.setattr(MidigptEncoder, "grammar", lambda _: None)
    with pytest.raises(ConfigError, match="copy_limit: the encoder has no grammar"):
        prepare(configure(**WATCHED), shard, shard)
