"""A setting that is changed before a run is continued is refused, or takes effect and is said."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from attrs import frozen

from midigpt_core.config import TrainConfig
from midigpt_core.config.choices import short_spellings
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.kinds import RUN_KINDS
from midigpt_core.plugins import current_registry
from midigpt_core.training.dry_run import estimate
from midigpt_core.training.keeping.changed_settings import ON_RESUME, Effect
from midigpt_core.training.keeping.checkpoints import AtomicCheckpointIO
from midigpt_core.training.keeping.identity import as_begun, identify
from midigpt_core.training.loop.initial import initial_model
from midigpt_core.training.loop.precision import usable_precision
from midigpt_core.training.planning.chosen import build_encoder, choose_encoder
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.planning.resume import step_files
from midigpt_core.training.run import train
from support.soundfont import soundfont
from support.training import curve, evaluations

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.training import Configure

FIELDS = [field.name for field in attrs.fields(TrainConfig) if field.init]

SETTINGS: dict[str, Any] = {
    "max_steps": 4,
    "save_steps": 2,
    "eval_steps": 2,
    "mask_apply_probability": 0.5,
}

#: Another value of every field than the run's; ``RUN`` is its folder, ``SHARD`` its data.
OTHER: Mapping[str, Any] = {
    "encoder_config_path": "yellow",
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 1,
    "n_positions": 512,
    "max_seq_len": 128,
    "num_bars_choices": [4],
    "min_tracks": 2,
    "max_tracks": 3,
    "min_fill_ratio": 0.5,
    "infill_probability": 0.5,
    "infill_bar_fraction": 0.25,
    "mask_apply_probability": 0.25,
    "mask_mode": 0,
    "learning_rate": 0.001,
    "batch_size": 4,
    "max_steps": 8,
    "warmup_steps": 3,
    "precision": "bf16",
    "num_workers": 1,
    "save_steps": 3,
    "eval_steps": 3,
    "logger": "tensorboard",
    "output_dir": "RUN/../elsewhere",
    "source": "gigamidi/gigamidi",
    "encoder": {"name": "midigpt", "config": "yellow"},
    "mask": {"name": "structured", "max_lookahead": 2},
    "architecture": {"name": "gpt2", "n_layer": 3},
    "optimizer": "adamw",
    "checkpoint_format": "safetensors",
    "adapter": "lora",
    "mask_bar_fraction": 0.5,
    "mask_max_lookahead": 2,
    "infill_positions": "sequence",
    "infill_track_probability": 0.25,
    "loss_on": "targets",
    "train_sets": [{"paths": "SHARD", "weight": 3.5, "name": "one"}],
    "deduplicate": "near",
    "transpose_range": [-1, 1],
    "velocity_scale": [0.9, 1.1],
    "time_stretch_probability": 0.5,
    "bar_rotation_probability": 0.5,
    "track_dropout": 0.25,
    "genre_probability": 0.5,
    "velocity_off_probability": 0.125,
    "microtiming_off_probability": 0.125,
    "attributes_off_probability": 0.125,
    "attribute_dropout": 0.125,
    "seed": 7,
    "muon_learning_rate": 0.5,
    "weight_decay": 0.5,
    "adam_beta1": 0.5,
    "adam_beta2": 0.5,
    "gradient_clip": 0.25,
    "accumulation": 2,
    "scheduler": "constant",
    "packing": False,
    "compile": True,
    "gradient_checkpointing": True,
    "devices": 2,
    "num_nodes": 2,
    "strategy": "ddp",
    "collective_timeout": 300,
    "init_from": "RUN/model_final.pt",
    "freeze": ["transformer.wpe"],
    "keep_checkpoints": 5,
    "log_steps": 3,
    "sample_steps": 50,
    "sample_audio": "wav",
    "soundfont": "RUN/../bank.sf2",
    "eval_share": 0.2,
    "eval_rows": 8,
    "music": 1,
    "music_pieces": 5,
    "music_copy_sample": 0.5,
    "copy_limit": 2.0,
    "copy_excerpts": 4,
    "patience": 3,
    "metrics": ["groove"],
    "workers": 1,
    "run_name": "another",
}


#: What has to be set along with a field.
ALSO: Mapping[str, Mapping[str, Any]] = {
    "encoder": {"encoder_config_path": "yellow"},
    "architecture": {"n_layer": 3},
    "adapter": {"init_from": "RUN/model_final.pt"},
    "sample_audio": {"sample_steps": 50, "soundfont": "RUN/../bank.sf2"},
    "soundfont": {"sample_steps": 50, "sample_audio": "ogg"},
}


@frozen
class First:
    """A run of four steps, saved at 2 and 4, and evaluated there. Not to be written in."""

    folder: Path
    shard: Path
    eval_shard: Path
    make_config: Configure
    #: Of an encoder that can do all that settings ask for.
    encoder: Path

    def config(self, folder: Path, **changes: Any) -> TrainConfig:
        return self.make_config(folder, **{"encoder_config_path": str(self.encoder), **SETTINGS, **changes})

    def continued(self, folder: Path, step: int = 2, **changes: Any) -> Path:
        """A copy of the run, continued with changed settings after a step."""
        shutil.copytree(self.folder, folder)
        checkpoint = folder / "checkpoints" / f"step{step}.ckpt"
        return train(self.config(folder, **changes), self.shard, self.eval_shard, resume=checkpoint).run_dir

    def whole(self, folder: Path, **changes: Any) -> Path:
        """A run with changed settings from its start."""
        return train(self.config(folder, **changes), self.shard).run_dir

    def lines(self, config: TrainConfig) -> list[str]:
        """What a run says of its settings as it continues after step 2, without taking a step."""
        checkpoint = self.folder / "checkpoints" / "step2.ckpt"
        sets = bool(config.train_sets)
        plan = prepare(config, None if sets else self.shard, self.eval_shard, resume=checkpoint, accept_new_data=sets)
        saved = AtomicCheckpointIO().load_checkpoint(checkpoint)["midigpt"]
        plan = as_begun(plan, saved)
        model = initial_model(plan.config, plan.chosen.architecture, plan.encoder.vocab_size)
        identity = identify(plan, model, usable_precision(config.precision, gpu=False))
        return list(identity.check(saved, accept_new_data=sets).lines(2))


@pytest.fixture(scope="module")
def first(shard: Path, eval_shard: Path, tmp_path_factory: pytest.TempPathFactory, make_config: Configure) -> First:
    folder = tmp_path_factory.mktemp("first")
    config = choose_encoder(make_config(folder, encoder_config_path="expressive"), current_registry())
    (folder / "bank.sf2").write_bytes(soundfont())
    encoder = folder / "encoder.json"
    values = build_encoder(config).to_config()
    values["token_domains"] = [*values["token_domains"], {"type": "MaskBar", "domain_size": 1}]
    encoder.write_text(json.dumps({**values, "supports_mask_bar_token": True}), encoding="utf-8")
    first = First(folder / "run", shard, eval_shard, make_config, encoder)
    train(first.config(first.folder), shard, eval_shard)
    return first


def in_place(value: Any, run: Path, shard: Path) -> Any:
    if isinstance(value, str):
        return value.replace("RUN", str(run)).replace("SHARD", str(shard))
    if isinstance(value, dict):
        return {name: in_place(inner, run, shard) for name, inner in value.items()}
    return [in_place(inner, run, shard) for inner in value] if isinstance(value, list) else value


def test_every_field_has_a_row() -> None:
    assert list(ON_RESUME) == FIELDS
    assert list(OTHER) == FIELDS


@pytest.mark.parametrize("name", FIELDS)
def test_a_changed_field_is_refused_or_said(name: str, first: First) -> None:
    value = in_place(OTHER[name], first.folder, first.shard)
    config = first.config(first.folder, **{name: value, **in_place(ALSO.get(name, {}), first.folder, first.shard)})
    if ON_RESUME[name] in (Effect.REFUSED, Effect.MODEL):
        with pytest.raises(CheckpointError, match=r"another output_dir.*init_from") as caught:
            first.lines(config)
        assert "\n" not in str(caught.value)
        return
    component = next((kind.setting for kind in RUN_KINDS if name in (kind.setting, *short_spellings(kind))), name)
    lines = first.lines(config)
    said = [line for line in lines if line.startswith(component)]
    assert said, lines
    expected = {"mask": "structured", "train_sets": "3.5", "mask_mode": "random"}.get(name, str(value))
    assert any(f"is {expected}: " in line for line in said), said


def test_a_run_that_was_not_sharded_cannot_be(first: First) -> None:
    with pytest.raises(
        CheckpointError, match=r"strategy is 'fsdp', but was 'auto' in the run that is continued\..*init_from"
    ):
        first.lines(first.config(first.folder, strategy="fsdp"))


def test_the_same_settings_say_nothing(first: First) -> None:
    assert first.lines(first.config(first.folder)) == []
    # However they are spelled: the default mask is the mixed one.
    spelled = first.config(first.folder, mask={"name": "mixed"}, logger={"name": "none"}, num_bars_choices=[8, 4])
    assert first.lines(spelled) == []


@pytest.mark.parametrize("name", ["learning_rate", "warmup_steps", "scheduler", "max_steps"])
def test_the_rate_is_that_of_the_new_settings(
    name: str, first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    value = OTHER[name]
    folder = first.continued(tmp_path / "run", **{name: value})
    whole = first.whole(tmp_path / "whole", **{name: value})
    rates = [rate for *_, rate in curve(folder)]
    expected = [rate for *_, rate in curve(whole)]
    assert rates[2:] == expected[2:]
    assert rates[2:4] != [rate for *_, rate in curve(first.folder)][2:4]
    assert f"step 3 has a learning rate of {rates[2]:g}; before, it would have had" in caplog.text


@pytest.mark.parametrize(
    ("name", "inside"),
    [("weight_decay", "weight_decay"), ("adam_beta1", "betas"), ("adam_beta2", "betas"), ("gradient_clip", None)],
)
def test_what_steps_the_weights_is_that_of_the_new_settings(
    name: str, inside: str | None, first: First, tmp_path: Path
) -> None:
    folder = first.continued(tmp_path / "run", **{name: OTHER[name]})
    losses, before = ([loss for _, loss, *_ in curve(place)] for place in (folder, first.folder))
    # The third step is taken otherwise, which the fourth one's loss shows.
    assert losses[:3] == before[:3]
    assert losses[3] != before[3]
    if inside is not None:
        state = AtomicCheckpointIO().load_checkpoint(folder / "checkpoints" / "step4.ckpt")
        decayed, other, *_matrices = state["optimizer_states"][0]["param_groups"]
        values = decayed[inside] if isinstance(decayed[inside], tuple | list) else [decayed[inside]]
        assert OTHER[name] in values
        assert other["weight_decay"] == 0


def test_a_run_that_ended_is_made_longer(first: First, tmp_path: Path) -> None:
    folder = first.continued(tmp_path / "run", step=4, max_steps=8)
    whole = first.whole(tmp_path / "whole", max_steps=8)
    rates = [rate for *_, rate in curve(folder)]
    assert rates[4:] == [rate for *_, rate in curve(whole)][4:]
    assert min(rates[4:]) > 0


def test_unchanged_settings_continue_to_the_last_bit(
    first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(first.folder, tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "step4.ckpt").unlink()
    folder = train(first.config(tmp_path / "run"), first.shard, first.eval_shard, resume="auto").run_dir
    assert curve(folder) == curve(first.folder)
    assert evaluations(folder) == evaluations(first.folder)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [text for text in warnings if "NOMML" not in text and "evaluation pieces" not in text] == [
        f"output_dir was {first.folder} and is {folder}: losses and weights do not depend on it."
    ]


def test_precision_is_compared_as_the_machine_has_it(
    first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first.continued(tmp_path / "run", precision="bf16")
    assert "precision was fp32 and is bf16: the run does not continue bit for bit." in caplog.text
    caplog.clear()
    # Without a GPU, fp16 is fp32.
    first.continued(tmp_path / "other", precision="fp16")
    assert "precision was" not in caplog.text


def test_evaluations_of_other_rows_are_not_compared(
    first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {"max_steps": 8, "keep_checkpoints": 1, "eval_rows": 8}
    folder = first.continued(tmp_path / "run", step=4, **settings)
    said = "evaluations up to step 4 cannot be compared with later ones; the best is chosen among the later ones."
    assert f"eval_rows was 4 and is 8: {said}" in caplog.text
    losses = {line["step"]: line["eval_loss"] for line in evaluations(folder)}
    before = min((2, 4), key=losses.__getitem__)
    after = min((6, 8), key=losses.__getitem__)
    # The best of before stays, and so does the best of now.
    assert set(step_files(folder / "checkpoints")) == {before, after, 8}


def test_other_evaluation_data_is_said(first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(first.folder, tmp_path / "run")
    config = first.config(tmp_path / "run")
    train(config, first.shard, first.shard, resume=tmp_path / "run" / "checkpoints" / "step2.ckpt")
    assert "evaluation.pieces was 1 and is 18: evaluations up to step 2 cannot be compared" in caplog.text
    shutil.copytree(first.folder, tmp_path / "none")
    config = first.config(tmp_path / "none")
    train(config, first.shard, resume=tmp_path / "none" / "checkpoints" / "step2.ckpt")
    assert "evaluation data: none is given any more. The run is not evaluated." in caplog.text


@pytest.mark.parametrize("named", [True, False])
def test_a_run_keeps_its_optimiser_unless_another_is_named(named: bool, first: First, tmp_path: Path) -> None:
    """An earlier version, whose default it was, did not name AdamW."""
    whole = first.whole(tmp_path / "whole", optimizer="adamw")
    shutil.copytree(whole, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "step2.ckpt"
    if not named:
        state = AtomicCheckpointIO().load_checkpoint(checkpoint)
        del state["midigpt"]["settings"]["optimizer"]
        AtomicCheckpointIO().save_checkpoint(state, checkpoint)
    config = first.config(tmp_path / "run")
    assert estimate(prepare(config, first.shard, resume=checkpoint)).state_bytes == (
        estimate(prepare(first.config(tmp_path / "fresh", optimizer="adamw"), first.shard)).state_bytes
    )
    folder = train(config, first.shard, resume=checkpoint).run_dir
    assert curve(folder) == curve(whole)
    assert curve(folder) != curve(first.folder)
    assert TrainConfig.from_file(folder / "config.json").choice("optimizer") == {"name": "adamw"}
    for other in ("muon", "optimizers/muon"):
        config.optimizer = other
        with pytest.raises(CheckpointError, match=r"optimizer\.name is 'muon', but was 'adamw' in .*init_from"):
            train(config, first.shard, resume=checkpoint)
    # However it is spelled.
    config.optimizer = "optimizers/adamw"
    assert curve(train(config, first.shard, resume=checkpoint).run_dir) == curve(whole)


def test_a_file_with_an_option_of_muon_continues_a_run_of_adamw(
    first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = first.whole(tmp_path / "whole", optimizer="adamw")
    shutil.copytree(whole, tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "step2.ckpt"
    values = json.loads((whole / "config.json").read_text(encoding="utf-8"))
    del values["optimizer"]
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**values, "muon_learning_rate": 0.02}), encoding="utf-8")
    config = TrainConfig.from_file(file)
    config.output_dir = str(tmp_path / "run")
    estimate(prepare(config, first.shard, resume=checkpoint))
    folder = train(config, first.shard, first.eval_shard, resume=checkpoint).run_dir
    assert curve(folder) == curve(whole)
    said = f"muon_learning_rate ({file}) is ignored: the run was begun with optimizer 'adamw', which does not take it."
    assert caplog.text.count(said) == 2
    kept = TrainConfig.from_file(folder / "config.json")
    assert (kept.choice("optimizer"), kept.muon_learning_rate) == ({"name": "adamw"}, None)
    # Asked for, it is not ignored.
    config.muon_learning_rate = 0.02
    with pytest.raises(
        ConfigError, match=r"muon_learning_rate \(assignment\) and optimizer = 'adamw' \(the checkpoint\)"
    ):
        train(config, first.shard, resume=checkpoint)


def test_options_of_an_optimiser_take_effect(first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = {"name": "muon", "momentum": 0.5}
    folder = first.continued(tmp_path / "run", optimizer=options, muon_learning_rate=0.5)
    assert "optimizer.momentum was nothing and is 0.5: the run does not continue bit for bit." in caplog.text
    assert "optimizer.learning_rate was nothing and is 0.5: the run does not continue bit for bit." in caplog.text
    losses, before = ([loss for _, loss, *_ in curve(place)] for place in (folder, first.folder))
    assert losses[:3] == before[:3]
    assert losses[3] != before[3]
    state = AtomicCheckpointIO().load_checkpoint(folder / "checkpoints" / "step4.ckpt")
    matrices = state["optimizer_states"][0]["param_groups"][-1]
    assert (matrices["momentum"], matrices["initial_lr"], matrices["rms_of_adamw"]) == (0.5, 0.5, False)


def test_a_checkpoint_of_an_earlier_version_is_continued(
    first: First, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(first.whole(tmp_path / "whole", optimizer="adamw"), tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "step2.ckpt"
    state = AtomicCheckpointIO().load_checkpoint(checkpoint)
    identity = state["midigpt"]
    settings = identity.pop("settings")
    identity.pop("evaluation")
    stream = {name: settings[name] for name in ("seed", "max_tracks", "packing")}
    identity["stream"] |= {"settings": stream, "batch_size": 2, "precision": "fp32", "ranks": 1, "set_weights": {}}
    AtomicCheckpointIO().save_checkpoint(state, checkpoint)
    config = first.config(tmp_path / "run", seed=3)
    train(config, first.shard, first.eval_shard, resume=checkpoint)
    assert "seed was 1 and is 3: the run does not continue bit for bit." in caplog.text
    assert (
        "the checkpoint is of an earlier version and has no settings: the settings of this run are used." in caplog.text
    )


def test_each_course_that_was_given_up_is_kept(first: First, tmp_path: Path) -> None:
    folder = first.continued(tmp_path / "run", seed=2)
    config = first.config(folder, seed=3)
    second = (folder / "checkpoints" / "step4.ckpt").read_bytes()
    train(config, first.shard, first.eval_shard, resume=folder / "checkpoints" / "step2.ckpt")
    checkpoints = folder / "checkpoints"
    original = (first.folder / "checkpoints" / "step4.ckpt").read_bytes()
    assert (checkpoints / "set-aside" / "step4.ckpt").read_bytes() == original
    assert (checkpoints / "set-aside-2" / "step4.ckpt").read_bytes() == second
