"""Starting from a bundle, and evaluating one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from attrs import evolve

from midigpt_core.checkpoint import load_checkpoint, save_bundle
from midigpt_core.config import TrainConfig
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.training.dry_run import describe, estimate
from midigpt_core.training.evaluate import evaluate
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.training import evaluations, metrics

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure


@pytest.fixture(scope="module")
def bundle(shard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained 32/1/2 model with the ghost encoder."""
    config = TrainConfig(
        n_embd=32,
        n_layer=1,
        n_head=2,
        n_positions=192,
        max_seq_len=192,
        max_tracks=2,
        batch_size=4,
        max_steps=12,
        warmup_steps=2,
        learning_rate=1e-2,
        precision="fp32",
        encoder_config_path="ghost",
        eval_rows=5,
        output_dir=str(tmp_path_factory.mktemp("base")),
    )
    return train(config, shard, shard).bundle


def test_a_run_from_a_bundle_takes_weights_encoder_and_sizes(bundle: Path, shard: Path, tmp_path: Path) -> None:
    config = TrainConfig(
        init_from=str(bundle),
        batch_size=4,
        max_tracks=2,
        max_steps=3,
        warmup_steps=0,
        learning_rate=1e-3,
        precision="fp32",
        output_dir=str(tmp_path),
    )
    before = metrics(bundle.parent)
    result = train(config, shard)
    tuned, base = load_checkpoint(result.bundle), load_checkpoint(bundle)
    assert tuned.architecture_config == base.architecture_config
    assert tuned.encoder_config == base.encoder_config
    assert not torch.equal(tuned.state_dict["lm_head.weight"], base.state_dict["lm_head.weight"])
    assert tuned.provenance["sources"] == base.provenance["sources"] == ["gigamidi"]
    assert metrics(result.run_dir)[0]["loss"] < before[0]["loss"] - 1
    assert config.n_embd == 512, "the caller's configuration was changed"


def test_a_size_that_was_set_must_be_the_bundles(bundle: Path, shard: Path, tmp_path: Path) -> None:
    config = TrainConfig(init_from=str(bundle), n_embd=64, output_dir=str(tmp_path))
    with pytest.raises(ConfigError, match=r"n_embd: is 64, but 32 in .*Leave it out"):
        prepare(config, shard)
    same = TrainConfig(init_from=str(bundle), n_embd=32, max_tracks=2, output_dir=str(tmp_path))
    assert prepare(same, shard).config.n_positions == 192


def test_an_encoder_that_was_set_must_be_the_bundles(bundle: Path, shard: Path, tmp_path: Path) -> None:
    config = TrainConfig(init_from=str(bundle), encoder_config_path="yellow", output_dir=str(tmp_path))
    with pytest.raises(CheckpointError, match=r"its encoder differs: \w+.* is .*, but .* in this run"):
        prepare(config, shard)
    same = TrainConfig(init_from=str(bundle), encoder_config_path="ghost", max_tracks=2, output_dir=str(tmp_path))
    assert "mask_bar" in prepare(same, shard).encoder.provides


def test_the_encoder_can_come_from_a_bundle_alone(configure: Configure, bundle: Path, shard: Path) -> None:
    plan = prepare(configure(encoder_config_path=str(bundle)), shard)
    assert plan.encoder.to_config() == load_checkpoint(bundle).encoder_config
    assert plan.config.n_positions == 256


def test_evaluation_repeats_the_figures_of_the_run(bundle: Path, shard: Path) -> None:
    (during,) = evaluations(bundle.parent)
    report = evaluate(bundle, str(shard), device="cpu")
    assert report.loss == pytest.approx(during["eval_loss"], rel=1e-6)
    assert report.by_kind["infill_target"] == pytest.approx(during["eval_loss/infill_target"], rel=1e-6)
    assert set(report.by_kind) == {"ar", "infill_context", "infill_target"}
    assert sum(report.tokens_by_kind.values()) == sum(report.tokens_by_type.values()) == report.tokens
    assert evaluate(bundle, shard, batch_size=3, device="cpu").loss == pytest.approx(report.loss, rel=1e-6)
    assert report.to_dict()["by_group"]["pitch"] == report.by_group["pitch"]


def test_a_bundle_without_a_history_is_evaluated_by_the_defaults(bundle: Path, shard: Path, tmp_path: Path) -> None:
    bare = save_bundle(evolve(load_checkpoint(bundle), provenance={}), tmp_path / "bare.pt")
    report = evaluate(bare, shard, rows=2, device="cpu")
    assert 0 < report.tokens <= 2 * 192
    strange = {"stream": {"max_tracks": "many"}}
    forged = save_bundle(evolve(load_checkpoint(bundle), provenance=strange), tmp_path / "forged.pt")
    with pytest.raises(ConfigError, match=r"forged\.pt: stream\.max_tracks: expected an integer"):
        evaluate(forged, shard, device="cpu")


def test_a_dry_run_says_what_a_run_would_be(configure: Configure, shard: Path) -> None:
    plan = prepare(configure(accumulation=3, optimizer="adamw"), shard)
    found = estimate(plan)
    model = load_checkpoint(train(configure("other"), shard).bundle).state_dict
    assert found.parameters == sum(tensor.numel() for tensor in model.values())
    assert found.positions_per_step == 2 * 3 * 256
    assert 0.8 * found.positions_per_step < found.tokens_per_step <= found.positions_per_step
    assert found.state_bytes == 16 * found.parameters
    # Logits alone: float32[2, 256, V], kept once.
    assert found.activation_bytes > 4 * 2 * 256 * plan.encoder.vocab_size
    assert f"{found.parameters:,}" in describe(plan)
    assert not plan.run_dir.exists()
