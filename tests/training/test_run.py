"""Whole runs of a small model on real MIDI files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from midigpt_core.checkpoint import build_model, load_checkpoint
from midigpt_core.config import TrainConfig
from midigpt_core.inference import InferenceEngine
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import fit, train
from support.training import curve, evaluations, metrics

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure


def test_the_loss_falls_and_the_folder_explains_the_run(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=18, eval_steps=9, save_steps=7)
    result = train(config, str(shard), str(shard))
    assert result.steps == 18
    steps = metrics(result.run_dir)
    assert [line["step"] for line in steps] == list(range(1, 19))
    losses = [line["loss"] for line in steps]
    assert sum(losses[-3:]) < 0.85 * sum(losses[:3])
    assert all(0 <= line["padding"] < 0.5 and line["tokens"] > 0 and line["data_wait"] >= 0 for line in steps)
    assert [line["step"] for line in evaluations(result.run_dir)] == [9, 18]
    assert sorted(path.name for path in (result.run_dir / "checkpoints").iterdir()) == [
        "model-step14.pt",
        "model-step18.pt",
        "model-step7.pt",
        "step14.ckpt",
        "step18.ckpt",
        "step7.ckpt",
    ]
    assert TrainConfig.from_file(result.run_dir / "config.json").to_dict() == config.to_dict()
    again = prepare(configure("again", encoder_config_path=str(result.run_dir / "encoder.json")), shard)
    assert again.encoder.to_config() == load_checkpoint(result.bundle).encoder_config
    corpus = json.loads((result.run_dir / "corpus.json").read_text(encoding="utf-8"))
    assert sum(corpus["train"]["rows"].values()) == 18
    provenance = json.loads((result.run_dir / "provenance.json").read_text(encoding="utf-8"))
    assert provenance["components"]["encoder"]["name"] == "midigpt"
    settings = json.loads((result.run_dir / "settings.json").read_text(encoding="utf-8"))
    assert settings["n_embd"] == {"value": config.n_embd, "origin": "keyword"}
    assert settings["n_positions"]["origin"] in {"default", "keyword"}
    assert set(settings) == set(config.to_dict())
    environment = json.loads((result.run_dir / "environment.json").read_text(encoding="utf-8"))
    assert environment["packages"]["torch"] == torch.__version__


def test_the_bundle_gives_the_logits_of_the_model_that_was_trained(configure: Configure, shard: Path) -> None:
    result = train(configure(), shard)
    bundle = load_checkpoint(result.bundle)
    assert result.bundle.name == "model_final.pt"
    assert bundle.provenance["steps"] == 6
    engine = InferenceEngine.from_checkpoint(result.bundle, device="cpu")
    tokens = list(range(2, 40))
    with torch.inference_mode():
        expected = build_model(bundle)(torch.tensor([tokens]))[0]
    assert torch.equal(engine.logits(tokens), expected)
    assert engine.encoder.to_config() == bundle.encoder_config


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(configure: Configure, shard: Path, workers: int) -> None:
    alone = train(configure("alone"), shard)
    together = train(configure("together", num_workers=workers), shard)
    assert curve(together.run_dir) == curve(alone.run_dir)
    alone_weights, weights = load_checkpoint(alone.bundle).state_dict, load_checkpoint(together.bundle).state_dict
    assert all(torch.equal(weights[name], tensor) for name, tensor in alone_weights.items())


def test_a_run_is_a_function_of_its_seed(configure: Configure, shard: Path) -> None:
    torch.manual_seed(99)
    first = curve(train(configure("first"), shard).run_dir)
    state = torch.get_rng_state()
    assert curve(train(configure("again"), shard).run_dir) == first
    assert curve(train(configure("other", seed=2), shard).run_dir) != first
    assert torch.equal(torch.get_rng_state(), state), "torch's global generator was used"


def test_steps_are_optimiser_steps_whatever_the_accumulation(configure: Configure, shard: Path) -> None:
    whole = train(configure("whole", batch_size=4), shard, shard)
    parts = train(configure("parts", batch_size=2, accumulation=2, save_steps=3, eval_steps=3), shard, shard)
    assert parts.steps == 6
    assert (parts.run_dir / "checkpoints" / "step3.ckpt").exists()
    assert (parts.run_dir / "checkpoints" / "model-step6.pt").exists()
    assert [line["step"] for line in evaluations(parts.run_dir)] == [3, 6]
    for one, other in zip(metrics(whole.run_dir), metrics(parts.run_dir), strict=True):
        assert one["tokens"] == other["tokens"]
        assert one["learning_rate"] == other["learning_rate"]
        # Token mean over the whole step: micro-batches of unequal content weigh as their rows do in one batch.
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)


def test_only_the_newest_checkpoints_are_kept(configure: Configure, shard: Path) -> None:
    result = train(configure(save_steps=1, keep_checkpoints=2), shard)
    names = sorted(path.name for path in (result.run_dir / "checkpoints").iterdir())
    assert names == ["model-step5.pt", "model-step6.pt", "step5.ckpt", "step6.ckpt"]


def test_one_piece_is_enough_to_train_and_to_evaluate_on(configure: Configure, eval_shard: Path) -> None:
    result = train(configure(eval_steps=1000), [eval_shard], str(eval_shard.parent / "*.parquet"))
    (evaluation,) = evaluations(result.run_dir)
    assert evaluation["step"] == 6
    assert evaluation["eval_loss"] > 0


def test_bf16_and_unpacked_rows_train(configure: Configure, shard: Path) -> None:
    half = metrics(train(configure("half", precision="bf16"), shard).run_dir)
    assert half[-1]["loss"] < half[0]["loss"]
    unpacked = metrics(train(configure("unpacked", packing=False), shard).run_dir)
    packed = metrics(train(configure("packed"), shard).run_dir)
    assert unpacked[-1]["loss"] < unpacked[0]["loss"]
    assert sum(line["padding"] for line in unpacked) > sum(line["padding"] for line in packed)


def test_fp16_without_a_gpu_is_fp32_with_a_warning(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    full = train(configure("full"), shard)
    asked = train(configure("asked", precision="fp16"), shard)
    warnings = [record.message for record in caplog.records if "precision" in record.message]
    assert warnings == ["precision is fp32 instead of fp16: there is no GPU."]
    assert curve(asked.run_dir) == curve(full.run_dir)


def test_a_warm_up_longer_than_the_run_is_warned_of(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(configure(max_steps=3, warmup_steps=3), shard)
    assert "warmup_steps" not in caplog.text
    prepare(configure(max_steps=3, warmup_steps=4, learning_rate=0.01), shard)
    assert "warmup_steps is 4, but max_steps is 3: the learning rate never reaches 0.01." in caplog.text


def test_compile_gives_way_on_the_cpu_with_a_warning(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *_args, **_kwargs: pytest.fail("compiled on the CPU"))
    train(configure("compiled", compile=True, max_steps=1), shard)
    assert [record.message for record in caplog.records if record.message.startswith("compile is off")]


@pytest.mark.parametrize("mask_mode", [0, 1, 2])
def test_ghost_trains_with_masked_bars_in_every_mode(configure: Configure, shard: Path, mask_mode: int) -> None:
    config = configure(
        encoder_config_path="ghost", mask_apply_probability=1.0, mask_mode=mask_mode, infill_probability=0.5
    )
    plan = prepare(config, shard)
    mask_bar = plan.encoder.vocabulary.type_names.index("MaskBar")
    (token,) = (plan.encoder.vocabulary.type_of == mask_bar).nonzero()[0]
    assert (plan.training.open().block(0).batch.input_ids == token).any()
    losses = [line["loss"] for line in metrics(fit(plan).run_dir)]
    assert losses[-1] < losses[0]


def test_other_schedules_optimisers_and_formats_reach_their_places(configure: Configure, shard: Path) -> None:
    result = train(configure(scheduler="constant_with_warmup", checkpoint_format="safetensors"), shard)
    assert result.bundle.name == "model_final.safetensors"
    assert load_checkpoint(result.bundle).architecture_config["n_embd"] == 32
    assert [line["learning_rate"] for line in metrics(result.run_dir)] == [0.0, 0.005, *[0.01] * 4]


def test_a_logger_whose_server_fails_at_the_end_costs_no_model(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise MlflowException("connection refused")

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.setattr(MlflowClient, "get_run", fail)
    monkeypatch.setattr(MlflowClient, "set_terminated", fail)
    result = train(configure(logger="mlflow"), shard)
    assert result.bundle.name == "model_final.pt"
    assert load_checkpoint(result.bundle).architecture_config["n_embd"] == 32


def test_a_logger_gets_the_figures_and_the_configuration(configure: Configure, shard: Path) -> None:
    result = train(configure(logger="tensorboard", log_steps=2, eval_steps=3), shard, shard)
    events = EventAccumulator(str(result.run_dir / "tensorboard")).Reload()
    steps = metrics(result.run_dir)
    logged = [(event.step, event.value) for event in events.Scalars("loss")]
    assert logged == [(step, pytest.approx(steps[step - 1]["loss"], rel=1e-6)) for step in (2, 4, 6)]
    assert [event.step for event in events.Scalars("eval_loss/infill_target")] == [3, 6]
    assert {"gradient_norm", "tokens_per_second", "padding", "data_wait"} <= set(events.Tags()["scalars"])
    assert "n_embd: 32" in (result.run_dir / "tensorboard" / "hparams.yaml").read_text(encoding="utf-8")
