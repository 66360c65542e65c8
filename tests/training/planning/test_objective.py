"""What the loss counts, which weights are trained, and activations that are computed twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.data.datasets import batches
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.records import IGNORED_LABEL, TokenRole
from midigpt_core.training.dry_run import estimate
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.losses import counted_labels
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import fit, train
from support.training import curve, metrics

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure


# --- loss_on ---------------------------------------------------------------------------------------------------------


def test_with_targets_alone_the_context_of_infill_documents_counts_nothing(configure: Configure, shard: Path) -> None:
    plan = prepare(configure(infill_probability=0.5, loss_on="targets"), shard)
    batch = next(iter(batches(plan.training, batch_size=8, first_row=0)))
    assert counted_labels(batch, "all") is batch["labels"]
    counted = counted_labels(batch, "targets")
    expected = batch["labels"].clone()
    for row in range(8):
        for position in range(expected.shape[1] - 1):
            if batch["role"][row, position + 1] == TokenRole.CONTEXT:
                expected[row, position] = IGNORED_LABEL
    assert torch.equal(counted, expected)
    share = (counted != IGNORED_LABEL).sum() / (batch["labels"] != IGNORED_LABEL).sum()
    assert 0.1 < share < 0.9


def test_a_run_counts_and_reports_the_tokens_of_its_objective(configure: Configure, shard: Path) -> None:
    everything = metrics(train(configure("all"), shard).run_dir)
    targets = metrics(train(configure("targets", loss_on="targets"), shard).run_dir)
    for one, other in zip(everything, targets, strict=True):
        assert one["tokens"] == other["tokens"]
        assert 0 < other["predicted"] < one["predicted"] < one["tokens"]
    assert everything[0]["loss"] != targets[0]["loss"]


# --- freezing --------------------------------------------------------------------------------------------------------


def test_frozen_weights_stay_bit_for_bit_and_the_others_move(configure: Configure, shard: Path) -> None:
    config = configure(freeze=["transformer.w?e", "transformer.h.0.attn"], save_steps=3)
    plan = prepare(config, shard)
    before = initial_model(plan.config, plan.chosen.architecture, plan.encoder.vocab_size).state_dict()
    after = load_checkpoint(fit(plan).bundle).state_dict
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    frozen = {name for name in after if name.startswith(("transformer.wte", "transformer.wpe", "transformer.h.0.attn"))}
    assert frozen
    assert moved == set(after) - frozen
    found = estimate(plan)
    assert found.trained == found.parameters - sum(after[name].numel() for name in frozen)


def test_a_frozen_run_continues_bit_for_bit_and_only_as_such(configure: Configure, shard: Path) -> None:
    whole = train(configure("whole", freeze=["transformer.wte"]), shard)
    config = configure("stopped", freeze=["transformer.wte"], max_steps=3, save_steps=3, scheduler="constant")
    steady = train(configure("steady", freeze=["transformer.wte"], scheduler="constant"), shard)
    train(config, shard)
    config.max_steps = 6
    assert curve(train(config, shard, resume="auto").run_dir) == curve(steady.run_dir) != curve(whole.run_dir)
    config.max_steps, config.freeze = 9, []
    with pytest.raises(CheckpointError, match="freeze"):
        train(config, shard, resume="auto")


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        (["transformer.h.7"], r"freeze: 'transformer\.h\.7' matches no weight of the model\. Did you mean"),
        (["*"], r"freeze: no weight is left to train\."),
        (["zzz"], r"matches no weight of the model\. The model's outermost modules are lm_head, transformer\."),
    ],
)
def test_what_cannot_be_frozen_is_said(configure: Configure, shard: Path, freeze: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(configure(freeze=freeze), shard)


# --- gradient checkpointing ------------------------------------------------------------------------------------------


def test_gradient_checkpointing_changes_memory_and_nothing_else(configure: Configure, shard: Path) -> None:
    plain = configure("plain", n_layer=3)
    checkpointed = configure("checkpointed", n_layer=3, gradient_checkpointing=True)
    kept, all_kept = (estimate(prepare(config, shard)).activation_bytes for config in (checkpointed, plain))
    assert kept < 0.6 * all_kept
    result = train(checkpointed, shard)
    expected = train(plain, shard)
    assert curve(result.run_dir) == curve(expected.run_dir)
    weights, others = load_checkpoint(result.bundle).state_dict, load_checkpoint(expected.bundle).state_dict
    assert list(weights) == list(others)
    assert all(torch.equal(weights[name], others[name]) for name in others)


# --- attributes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "share"), [({"attributes_off_probability": 1.0}, 0.0), ({"attribute_dropout": 0.5}, 0.5)]
)
def test_attributes_are_left_out_of_training_and_stand_in_the_evaluation(
    configure: Configure, shard: Path, changes: dict[str, float], share: float
) -> None:
    plain, dropped = prepare(configure(), shard, shard), prepare(configure(**changes), shard, shard)
    vocabulary = plain.encoder.vocabulary
    attribute = vocabulary.type_of == vocabulary.type_names.index("MinPolyphony")
    track = vocabulary.type_of == vocabulary.type_names.index("Track")

    def per_track(plan: object, stream: str) -> float:
        tokens = getattr(plan, stream).open().block(0).batch.input_ids
        return float(attribute[tokens].sum() / track[tokens].sum())

    assert per_track(dropped, "training") == pytest.approx(share * per_track(plain, "training"), abs=0.1)
    assert per_track(dropped, "evaluation") == per_track(plain, "evaluation")


def test_an_encoder_without_attributes_has_none_to_leave_out(configure: Configure, shard: Path, tmp_path: Path) -> None:
    encoder = prepare(configure(), shard).encoder.to_config()
    said = {"NoteDensity", "MinPolyphony", "MaxPolyphony", "MinNoteDuration", "MaxNoteDuration"}
    domains = [domain for domain in encoder["token_domains"] if domain["type"] not in said]
    path = tmp_path / "bare.json"
    path.write_text(json.dumps({**encoder, "attribute_controls": [], "token_domains": domains}), encoding="utf-8")
    config = configure(encoder_config_path=str(path), attribute_dropout=0.1)
    with pytest.raises(ConfigError, match=r"attribute_dropout: .*0\.1.* no attributes"):
        prepare(config, shard)
