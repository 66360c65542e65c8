"""Runs that train an adapter: the base stays, the bundle is merged, the run resumes to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import frozen

from midigpt_core.checkpoint import build_model, load_checkpoint
from midigpt_core.checkpoint.adapters import load_adapter, weights_hash
from midigpt_core.config import TrainConfig
from midigpt_core.errors import CheckpointError, ConfigError, MidigptError
from midigpt_core.training.dry_run import estimate
from midigpt_core.training.evaluate import evaluate
from midigpt_core.training.keeping.checkpoints import AtomicCheckpointIO
from midigpt_core.training.loop.initial import beginning
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import train
from support.stopping import Run
from support.training import curve, metrics

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure

ARCHITECTURES = ("gpt2", "llama")
#: Of each architecture, how the linear layers of its blocks are called.
LAYERS = {
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
}
LORA = {"name": "lora", "rank": 4, "alpha": 8.0, "targets": [], "dropout": 0.0}


class Stopped(Exception):
    pass


def stop_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Have the run end after ``step`` optimiser steps, in the middle of the next one."""
    original = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == step:
            raise Stopped
        return original(self, batch, batch_idx)

    patch.setattr(TrainingModule, "training_step", training_step)


@frozen
class Bases:
    """A trained bundle of each architecture."""

    by_architecture: dict[str, Path]
    folder: Path
    shard: Path

    def config(self, architecture: str, folder: Path, **changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "init_from": str(self.by_architecture[architecture]),
            "adapter": LORA,
            "max_tracks": 2,
            "batch_size": 2,
            "max_steps": 6,
            "warmup_steps": 1,
            "learning_rate": 1e-2,
            "precision": "fp32",
            "eval_rows": 4,
            "save_steps": 3,
            "mask_apply_probability": 0.0,
            "output_dir": str(folder),
        }
        return TrainConfig(**{**values, **changes})


@pytest.fixture(scope="module")
def bases(shard: Path, tmp_path_factory: pytest.TempPathFactory, make_config: Configure) -> Bases:
    folder = tmp_path_factory.mktemp("bases")
    bundles = {
        name: train(make_config(folder / name, architecture=name, max_steps=40), shard).bundle for name in ARCHITECTURES
    }
    return Bases(bundles, folder, shard)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_only_the_adapter_is_trained_and_the_bundle_is_merged(
    architecture: str, optimizer: str, bases: Bases, tmp_path: Path
) -> None:
    config = bases.config(architecture, tmp_path / "run", optimizer=optimizer, max_steps=40)
    result = train(config, bases.shard, bases.shard)
    losses = [
        evaluate(bundle, bases.shard, rows=4, device="cpu").loss
        for bundle in (bases.by_architecture[architecture], result.bundle)
    ]
    assert losses[1] < losses[0]
    base = load_checkpoint(bases.by_architecture[architecture])
    merged, adapter = load_checkpoint(result.bundle), load_adapter(result.run_dir)
    state = AtomicCheckpointIO().load_checkpoint(result.run_dir / "checkpoints" / "step39.ckpt")["state_dict"]
    trained = {name.removeprefix("model.").replace(".base_layer", ""): tensor for name, tensor in state.items()}
    for name, weight in base.state_dict.items():
        assert torch.equal(trained[name], weight), f"{name} of the base was changed"
    changed = {name for name, tensor in merged.state_dict.items() if not torch.equal(tensor, base.state_dict[name])}
    assert {name.split(".")[-2] for name in changed} == set(LAYERS[architecture])
    assert {name.rpartition(".lora_")[0] for name in adapter.tensors} == changed
    assert set(merged.state_dict) == set(base.state_dict)
    assert merged.architecture_config == base.architecture_config
    assert adapter.options == {key: value for key, value in LORA.items() if key != "name"}
    assert adapter.base["name"] == "model_final.pt"
    assert adapter.base["weights"] == weights_hash(base.state_dict) == merged.provenance["base"]["weights"]
    assert merged.provenance["components"]["adapter"]["name"] == "lora"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_merged_bundle_computes_what_the_adapted_model_does(
    architecture: str, bases: Bases, tmp_path: Path
) -> None:
    plan = prepare(bases.config(architecture, tmp_path / "run"), bases.shard)
    begun = beginning(plan)
    assert begun.adapted is not None
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in begun.model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.2)
    base = load_checkpoint(bases.by_architecture[architecture])
    merged = build_model(base)
    tokens = torch.randint(0, plan.encoder.vocab_size, (2, 60))
    with torch.inference_mode():
        plain = merged(tokens)
        merged.load_state_dict(begun.adapted.merged())
        expected, found = begun.model.eval()(tokens), merged(tokens)
    assert (expected - plain).abs().max() > 0.1
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("gpt2", {"optimizer": "muon", "adapter": {**LORA, "dropout": 0.25}, "gradient_checkpointing": True}),
        ("llama", {"optimizer": "adamw", "adapter": {**LORA, "dropout": 0.25}, "accumulation": 2}),
        ("llama", {"optimizer": "muon", "adapter": "lora"}),
    ],
)
def test_a_run_resumes_to_the_bit(architecture: str, changes: dict[str, Any], bases: Bases, tmp_path: Path) -> None:
    changes = {"max_steps": 5, **changes}
    whole = train(bases.config(architecture, tmp_path / "whole", **changes), bases.shard)
    config = bases.config(architecture, tmp_path / "parts", **changes)
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 4)
        with pytest.raises(Stopped):
            train(config, bases.shard)
    assert (tmp_path / "parts" / "checkpoints" / "adapter-step3.safetensors").exists()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    config.num_workers = 1
    continued = train(config, bases.shard, resume="auto")
    assert torch.equal(torch.get_rng_state(), before)
    assert curve(continued.run_dir) == curve(whole.run_dir)
    for name in ("model_final.pt", "adapter.safetensors"):
        assert (continued.run_dir / name).read_bytes() == (whole.run_dir / name).read_bytes()


def test_dropout_is_drawn_at_every_step_and_by_the_seed(bases: Bases, tmp_path: Path) -> None:
    def losses(name: str, **changes: Any) -> list[float]:
        config = bases.config("gpt2", tmp_path / name, max_steps=3, **changes)
        return [step["loss"] for step in metrics(train(config, bases.shard).run_dir)]

    dropped = {**LORA, "dropout": 0.5}
    without, first, again = losses("without"), losses("first", adapter=dropped), losses("again", adapter=dropped)
    assert first == again
    # One factor is 0 at the first step, whatever is left out.
    assert first[0] == without[0]
    assert first[2] != without[2]


def test_two_ranks_train_one_adapter(bases: Bases, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"max_steps": 4, "save_steps": 2, "adapter": LORA, "optimizer": "adamw"}
    alone = Run(bases.config("gpt2", tmp_path / "alone", batch_size=2, **changes), bases.shard, bases.shard)
    assert alone.exit_code() == 0
    pair = Run(
        bases.config("gpt2", tmp_path / "pair", batch_size=1, devices=2, strategy="ddp", **changes),
        bases.shard,
        bases.shard,
    )
    assert pair.ranks(2) == [0, 0]
    for one, two in zip(metrics(alone.folder), metrics(pair.folder), strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5)
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-4)
    assert load_adapter(pair.folder).tensors.keys() == load_adapter(alone.folder).tensors.keys()


def test_a_run_continues_with_its_adapter_and_base_alone(bases: Bases, tmp_path: Path) -> None:
    config = bases.config("gpt2", tmp_path / "run", max_steps=3)
    train(config, bases.shard)
    for adapter, said in (
        ({**LORA, "rank": 8}, r"adapter\.rank is 8, but 4 in this run|adapter\.rank is 4, but 8 in this run"),
        ("none", r"adapter\.? ?.*is .*lora.*but 'nothing' in this run"),
    ):
        with pytest.raises(CheckpointError, match=said):
            train(bases.config("gpt2", tmp_path / "run", adapter=adapter, max_steps=6), bases.shard, resume="auto")
    # Its options may be left out if they are the defaults, and written if they are not needed.
    config = bases.config("gpt2", tmp_path / "defaults", adapter="lora", max_steps=3)
    train(config, bases.shard)
    written = bases.config("gpt2", tmp_path / "defaults", adapter={"name": "adapters/lora", "rank": 8}, max_steps=4)
    assert train(written, bases.shard, resume="auto").steps == 4


def test_a_base_that_was_replaced_is_refused(bases: Bases, tmp_path: Path, make_config: Configure) -> None:
    base = tmp_path / "base.pt"
    base.write_bytes(bases.by_architecture["gpt2"].read_bytes())
    config = bases.config("gpt2", tmp_path / "run", init_from=str(base), max_steps=3)
    train(config, bases.shard)
    other = train(make_config(tmp_path / "other", max_steps=1, seed=5), bases.shard).bundle
    base.write_bytes(other.read_bytes())
    config.max_steps = 4
    with pytest.raises(CheckpointError, match="base_weights is"):
        train(config, bases.shard, resume="auto")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_targets_choose_layers_by_name(architecture: str, bases: Bases, tmp_path: Path) -> None:
    layer = LAYERS[architecture][0]
    for number, targets in enumerate(([layer], [f"*.0.*.{layer}"], [f"{layer[:3]}*"])):
        adapter = {**LORA, "targets": targets}
        begun = beginning(prepare(bases.config(architecture, tmp_path / str(number), adapter=adapter), bases.shard))
        assert begun.adapted is not None
        found = {name.split(".")[-3] for name in begun.adapted.tensors()}
        assert layer in found
        assert found < set(LAYERS[architecture])
    with pytest.raises(ConfigError) as caught:
        beginning(
            prepare(
                bases.config(architecture, tmp_path / "none", adapter={**LORA, "targets": [layer, "attention"]}),
                bases.shard,
            )
        )
    said = str(caught.value)
    assert said.startswith("adapter.targets: 'attention' matches no linear layer of the model.")
    assert "\n" not in said
    assert all(name in said for name in LAYERS[architecture])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"init_from": ""}, "adapter: adapts a trained model, and none is given. Set init_from"),
        ({"freeze": ["transformer.wte"]}, "freeze: an adapter freezes all weights of its base"),
        ({"strategy": "fsdp"}, r"strategy: an adapter is not split over devices \(fsdp\)"),
        ({"adapter": {"name": "lora", "ranks": 3}}, r"adapter\.ranks: .*Did you mean 'rank'"),
        ({"adapter": {"name": "lora", "rank": 0}}, r"adapter\.rank"),
        ({"adapter": "lara"}, "no adapter named 'lara'. Did you mean 'lora'"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_read(
    changes: dict[str, Any], said: str, bases: Bases, tmp_path: Path
) -> None:
    with pytest.raises(MidigptError, match=said):
        prepare(bases.config("gpt2", tmp_path / "run", **changes), bases.shard)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_the_adapter(bases: Bases, tmp_path: Path) -> None:
    found = estimate(prepare(bases.config("gpt2", tmp_path / "run"), bases.shard))
    # Layers of 32 to 96, 32 to 32, 32 to 128 and 128 to 32.
    assert found.trained == 4 * (128 + 64 + 160 + 160)
    whole = estimate(prepare(bases.config("gpt2", tmp_path / "whole", adapter="none"), bases.shard))
    assert found.parameters == whole.parameters + found.trained
    assert found.state_bytes < whole.state_bytes


def test_old_checkpoints_lose_their_adapters_too(bases: Bases, tmp_path: Path) -> None:
    config = bases.config("gpt2", tmp_path / "run", max_steps=3, save_steps=1, keep_checkpoints=1)
    train(config, bases.shard)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["adapter-step3.safetensors", "model-step3.pt", "step3.ckpt"]
