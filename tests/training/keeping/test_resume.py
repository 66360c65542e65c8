"""What a run may continue from, and what is said when it is not the same run any more."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import evolve

from midigpt_core.errors import CheckpointError
from midigpt_core.files import WriteError
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import fit, train
from support.training import curve, metrics

if TYPE_CHECKING:
    from support.training import Configure


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


def give_up() -> None:
    raise Stopped


@pytest.fixture
def settings() -> dict[str, Any]:
    return {"max_steps": 9, "accumulation": 2, "save_steps": 2, "eval_steps": 3, "keep_checkpoints": 9}


def test_windows_of_few_songs_continue_to_the_bit(configure: Configure, shard: Path, settings: dict[str, Any]) -> None:
    plain = train(configure("plain", **settings, num_bars_choices=[4]), shard)
    settings |= {"time_stretch_probability": 0.5, "bar_rotation_probability": 0.5, "track_dropout": 0.3}
    whole = train(configure("whole", **settings, num_bars_choices=[4]), shard)
    assert curve(whole.run_dir) != curve(plain.run_dir)
    expected = curve(whole.run_dir)
    config = configure("whole", **settings, num_bars_choices=[4], num_workers=1)
    resumed = train(config, shard, resume=whole.run_dir / "checkpoints" / "step4.ckpt")
    assert curve(resumed.run_dir) == expected


@pytest.mark.parametrize(("step", "architecture"), [(2, "gpt2"), (5, "gpt2"), (5, "llama")])
def test_continued_with_other_workers_from_any_checkpoint(
    configure: Configure, shard: Path, settings: dict[str, Any], step: int, architecture: str
) -> None:
    settings["architecture"] = architecture
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
    assert continued.bundle.read_bytes() == whole.bundle.read_bytes()


def test_a_run_does_not_start_over_an_older_one(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=3, save_steps=2)
    train(config, shard)
    with pytest.raises(CheckpointError, match="--resume auto"):
        train(config, shard)


@pytest.mark.parametrize("resume", [None, "auto"])
def test_a_run_does_not_replace_the_bundle_of_one_without_checkpoints(
    configure: Configure, shard: Path, resume: str | None
) -> None:
    config = configure(max_steps=2)
    bundle = train(config, shard).bundle
    before = bundle.read_bytes()
    with pytest.raises(CheckpointError, match=r"model_final\.pt: is the bundle of an earlier run.* checkpoint"):
        train(config, shard, resume=resume)
    assert bundle.read_bytes() == before


def test_a_run_that_had_its_steps_keeps_its_bundle(configure: Configure, shard: Path, eval_shard: Path) -> None:
    config = configure(max_steps=2, save_steps=2, eval_steps=2)
    first = train(config, shard, eval_shard)
    before = first.bundle.read_bytes()
    again = train(config, shard, eval_shard, resume="auto")
    assert (again.steps, again.steps_before) == (2, 2)
    assert again.bundle.read_bytes() == before
    again.bundle.unlink()
    assert train(config, shard, eval_shard, resume="auto").bundle.exists()


def test_two_runs_do_not_share_a_folder(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=2)
    Path(config.output_dir).mkdir()
    holder = Path(config.output_dir)
    held = "import sys\nfrom pathlib import Path\nfrom midigpt_core.files import only_writer\n"
    held += "with only_writer(Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()\n"
    with subprocess.Popen(
        [sys.executable, "-c", held, str(holder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(WriteError, match="another process is writing here"):
            train(config, shard)
        assert not (holder / "metrics.jsonl").exists()
        # However its owner ends, the folder is free.
        other.kill()
    assert train(config, shard).steps == 2


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


def test_what_is_refused_leaves_the_run_as_it_was(configure: Configure, shard: Path, eval_shard: Path) -> None:
    config = configure(max_steps=2, save_steps=2)
    result = train(config, shard)
    before = content_of(result.run_dir)
    assert Path("config.json") in before
    config.max_steps = 4
    with pytest.raises(CheckpointError, match="accept-new-data"):
        train(config, eval_shard, resume="auto")
    assert content_of(result.run_dir) == before
    config.n_layer = 2
    with pytest.raises(CheckpointError, match="n_layer"):
        train(config, shard, resume="auto")
    assert content_of(result.run_dir) == before
    checkpoint = result.run_dir / "checkpoints" / "step2.ckpt"
    config.output_dir = str(result.run_dir.with_name("elsewhere"))
    with pytest.raises(CheckpointError, match="n_layer"):
        train(config, shard, resume=checkpoint)
    assert not list(Path(config.output_dir).glob("*.json"))


def content_of(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_is_no_state_of_a_run(configure: Configure, shard: Path) -> None:
    result = train(configure(max_steps=1), shard)
    with pytest.raises(
        CheckpointError, match=r"model_final\.pt: is a bundle, not a checkpoint\..*step\*\.ckpt.*init_from"
    ):
        train(configure("again", max_steps=2), shard, resume=result.bundle)


def test_other_data_needs_a_word(
    configure: Configure, shard: Path, eval_shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(max_steps=2, save_steps=2)
    train(config, shard)
    config.max_steps = 3
    with pytest.raises(CheckpointError, match=r"corpus\.pieces was 18 and is 1\..*--accept-new-data"):
        train(config, eval_shard, resume="auto")
    result = train(config, eval_shard, resume="auto", accept_new_data=True)
    assert [line["step"] for line in metrics(result.run_dir)] == [1, 2, 3]
    assert [record.message for record in caplog.records if "bit for bit" in record.message] == [
        "corpus.pieces was 18 and is 1: the run does not continue bit for bit."
    ]


def test_another_number_of_threads_is_said(configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = configure(max_steps=2, save_steps=2)
    train(config, shard)
    config.max_steps, config.batch_size = 3, 4
    torch.set_num_threads(2)
    try:
        train(config, shard, resume="auto")
    finally:
        torch.set_num_threads(1)
    assert [record.message for record in caplog.records if "bit for bit" in record.message] == [
        "batch_size was 2 and is 4: the run does not continue bit for bit.",
        "threads was 1 and is 2: the run does not continue bit for bit.",
    ]


def test_another_vocabulary_is_refused(configure: Configure, shard: Path) -> None:
    """An encoder may number its tokens otherwise in another version, with the same configuration."""
    # Set, not by default: a default would be settled by the checkpoint, with an encoder that is built again.
    config = configure(max_steps=2, save_steps=2, infill_positions="sequence")
    train(config, shard)
    plan = prepare(config, shard, resume="auto")
    encoder = plan.encoder
    swapped = evolve(encoder.vocabulary, type_of=encoder.vocabulary.type_of[::-1].copy())

    class Renumbered:
        vocabulary = swapped

        def __getattr__(self, name: str) -> Any:
            return getattr(encoder, name)

    with pytest.raises(CheckpointError, match=r"another model: vocabulary\.tokens is '\w+', but '\w+' in this run"):
        fit(evolve(plan, encoder=Renumbered()))


def test_going_back_sets_aside_what_came_later(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configure(save_steps=2)
    train(config, shard)
    folder = Path(config.output_dir) / "checkpoints"
    config.max_steps, config.learning_rate = 3, 1e-3
    train(config, shard, resume=folder / "step2.ckpt")
    assert sorted(path.name for path in folder.iterdir()) == [
        "model-step2.pt",
        "model-step3.pt",
        "set-aside",
        "step2.ckpt",
        "step3.ckpt",
    ]
    assert sorted(path.name for path in (folder / "set-aside").iterdir()) == [
        "model-step4.pt",
        "model-step6.pt",
        "step4.ckpt",
        "step6.ckpt",
    ]
    assert any("later checkpoints (step 4, 6) are now in" in record.message for record in caplog.records)


def test_metrics_that_no_run_wrote_are_dropped_on_resume(configure: Configure, shard: Path) -> None:
    config = configure(max_steps=2, save_steps=2)
    path = train(config, shard).run_dir / "metrics.jsonl"
    hostile = [
        "[" * 100_000,
        '{"step": ' + "9" * 5000 + "}",
        json.dumps({"step": 10**400}),
        '{"step": true}',
        "\xff\u2028",
    ]
    path.write_text("\n".join([*hostile, path.read_text(encoding="utf-8")]), encoding="utf-8")
    config.max_steps = 3
    train(config, shard, resume="auto")
    assert [json.loads(line)["step"] for line in path.read_text(encoding="utf-8").splitlines()] == [1, 2, 3]


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_folder_that_is_gone_is_an_error_at_the_next_write(configure: Configure, shard: Path, how: str) -> None:
    config = configure(save_steps=2)
    folder = Path(config.output_dir)

    def take_away() -> None:
        folder.rename(folder.with_name("moved"))
        if how == "removed":
            shutil.rmtree(folder.with_name("moved"))
        if how == "replaced":
            folder.mkdir()

    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 3, 0, take_away)
        with pytest.raises(
            WriteError, match=r"run: was removed, moved or replaced while .* No checkpoint is there yet\."
        ):
            train(config, shard)
    assert not list(folder.rglob("*"))


def test_the_users_home_is_meant_by_a_tilde(
    configure: Configure, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    config = configure(max_steps=2, save_steps=2)
    config.output_dir = "~/runs/one"
    result = train(config, shard)
    assert result.run_dir == tmp_path / "home" / "runs" / "one"
    assert not Path("~").exists()
    config.max_steps = 3
    assert train(config, shard, resume="~/runs/one/checkpoints/step2.ckpt").steps_before == 2
