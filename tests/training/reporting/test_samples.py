"""Music while a run goes: files and loggers get it, and the run itself is unaffected."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import midigpt_loggers.none
import pytest
import soundfile
import torch
from lightning.pytorch.loggers import CSVLogger
from midigpt_encoder.encoder import MidigptEncoder
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from midigpt_core.audio.rendering import Renderer
from midigpt_core.checkpoint import load_checkpoint
from midigpt_core.errors import ConfigError, RunStopped
from midigpt_core.inference import InferenceEngine
from midigpt_core.inference.session import SamplingSession
from midigpt_core.score import Score
from midigpt_core.training.loop.module import TrainingModule
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.processes.clock import StepClock
from midigpt_core.training.processes.signals import StopSignals
from midigpt_core.training.reporting.measured_run import MeasuredRun
from midigpt_core.training.reporting.samples import SampleWriter, draw_prompts
from midigpt_core.training.run import train
from support.soundfont import soundfont
from support.training import curve, evaluations

if TYPE_CHECKING:
    from pathlib import Path

    from support.training import Configure

PROMPTS = ("prompt1", "prompt2", "prompt3", "prompt4")
SETTINGS: dict[str, Any] = {"eval_steps": 3, "save_steps": 2, "num_bars_choices": [4]}


def music(run_dir: Path) -> dict[str, bytes]:
    """The MIDI files of a run's samples by ``step4/prompt1.mid``."""
    folder = run_dir / "samples"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.mid"))}


def test_samples_are_made_and_the_run_is_the_one_without(configure: Configure, shard: Path) -> None:
    torch.manual_seed(5)
    without = train(configure("without", **SETTINGS), shard, shard)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    result = train(configure("with", **SETTINGS, sample_steps=2, logger="tensorboard"), shard, shard)
    assert torch.equal(torch.get_rng_state(), state)
    assert curve(result.run_dir) == curve(without.run_dir)
    assert evaluations(result.run_dir) == evaluations(without.run_dir)
    weights, expected = load_checkpoint(result.bundle).state_dict, load_checkpoint(without.bundle).state_dict
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())
    assert not (without.run_dir / "samples").exists()

    assert list(music(result.run_dir)) == [f"step{step}/{name}.mid" for step in (2, 4, 6) for name in PROMPTS]
    for path in (result.run_dir / "samples").rglob("*.mid"):
        assert len(Score.from_midi(path).tracks) >= 1
        with Image.open(path.with_suffix(".png")) as picture:
            assert picture.width > 500
    assert not list(result.run_dir.rglob(".midigpt-tmp-*"))
    # The weights change, the prompts do not.
    assert len({music(result.run_dir)[f"step{step}/prompt2.mid"] for step in (2, 4, 6)}) == 3

    events = EventAccumulator(str(result.run_dir / "tensorboard")).Reload()
    assert set(events.Tags()["images"]) == {f"samples/{name}" for name in PROMPTS}
    assert [event.step for event in events.Images("samples/prompt1")] == [2, 4, 6]
    (text, *_) = events.Tensors("samples/prompt1/text_summary")
    assert text.tensor_proto.string_val[0].decode().endswith("samples/step2/prompt1.mid")


def test_samples_are_those_of_the_steps_own_bundle(configure: Configure, shard: Path) -> None:
    result = train(configure(**SETTINGS, sample_steps=2), shard, shard)
    plan = prepare(configure("another", **SETTINGS), shard, shard)
    assert plan.evaluation is not None
    engine = InferenceEngine.from_checkpoint(result.run_dir / "checkpoints" / "model-step4.pt", "cpu")
    prompts = draw_prompts(plan.evaluation, plan.encoder)
    for prompt in prompts:
        again = engine.session(prompt.score, prompt.request).run().to_bytes()
        assert again == music(result.run_dir)[f"step4/{prompt.name}.mid"]
    assert [prompt.request.tracks[0].autoregressive for prompt in prompts] == [False, True, False, True]


@pytest.mark.parametrize(("share", "autoregressive"), [(0.0, {True}), (1.0, {False}), (0.5, {True, False})])
def test_prompts_are_of_the_kinds_that_are_trained_and_of_no_seed(
    configure: Configure, shard: Path, eval_shard: Path, share: float, autoregressive: set[bool]
) -> None:
    def drawn(seed: int) -> list[Any]:
        plan = prepare(configure(infill_probability=share, seed=seed), shard, eval_shard)
        return draw_prompts(plan.evaluation or plan.training, plan.encoder)

    prompts = drawn(1)
    assert {prompt.request.tracks[0].autoregressive for prompt in prompts} == autoregressive
    for prompt in prompts:
        assert len(prompt.score.tracks) <= 2
        assert len(prompt.score.tracks[0].bars) == prompt.request.config.window_bars
    assert [(one.title, one.score.digest()) for one in drawn(2)] == [(one.title, one.score.digest()) for one in prompts]


def test_a_run_that_stops_where_samples_are_due_makes_them_when_it_goes_on(configure: Configure, shard: Path) -> None:
    whole = train(configure("whole", **SETTINGS, sample_steps=2), shard, shard)
    config = configure("stopped", **SETTINGS, sample_steps=2)
    original = TrainingModule.training_step

    def training_step(self: TrainingModule, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RunStopped, match="after step 4"):
        patch.setattr(TrainingModule, "training_step", training_step)
        train(config, shard, shard)
    assert {name.split("/")[0] for name in music(whole.run_dir.parent / "stopped")} == {"step2"}
    continued = train(config, shard, shard, resume="auto")
    assert music(continued.run_dir) == music(whole.run_dir)
    assert curve(continued.run_dir) == curve(whole.run_dir)
    # Once more from an older checkpoint, over what is there.
    again = train(config, shard, shard, resume=continued.run_dir / "checkpoints" / "step2.ckpt")
    assert music(again.run_dir) == music(whole.run_dir)


def test_what_fails_is_a_warning_and_not_the_end(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SamplingSession.run
    calls: list[int] = []

    def run(self: SamplingSession, progress: Any = None) -> Score:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of\nluck")
        return original(self, progress)

    monkeypatch.setattr(SamplingSession, "run", run)
    with caplog.at_level(logging.WARNING, "midigpt_core.training"):
        result = train(configure(**SETTINGS, sample_steps=3), shard)
    assert result.steps == 6
    assert [record.message for record in caplog.records if "sample" in record.message] == [
        "no sample of prompt2 at step 3: RuntimeError: out of luck"
    ]
    made = list(music(result.run_dir))
    assert made == ["step3/prompt1.mid", "step3/prompt3.mid", "step3/prompt4.mid"] + [
        f"step6/{name}.mid" for name in PROMPTS
    ]
    caplog.clear()
    blocked = configure("blocked", **SETTINGS, sample_steps=3)
    (result.run_dir.parent / "blocked").mkdir()
    (result.run_dir.parent / "blocked" / "samples").write_text("a file in the way", encoding="utf-8")
    assert train(blocked, shard).steps == 6
    assert sum("no samples at step" in record.message for record in caplog.records) == 2


def test_a_stop_asked_for_meanwhile_leaves_the_samples_out(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = SamplingSession.run
    calls: list[int] = []

    def run(self: SamplingSession, progress: Any = None) -> Score:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, progress)

    monkeypatch.setattr(SamplingSession, "run", run)
    config = configure(**SETTINGS, sample_steps=2)
    with pytest.raises(RunStopped, match="after step 3"):
        train(config, shard)
    assert len(calls) == 2
    run_dir = shard.parent / config.output_dir
    assert not list(run_dir.glob("samples/*"))
    assert not [record for record in caplog.records if "sample" in record.message]


def test_loggers_without_a_place_for_samples_and_those_that_fail(
    configure: Configure, shard: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(CSVLogger):
        def log_sample(self, name: str, midi: Path, piano_roll: Path, step: int) -> None:
            assert midi.exists()
            assert piano_roll.exists()
            raise ConnectionError(f"no line for {name}")

    for kind, refused in ((CSVLogger, 0), (Failing, 4)):
        monkeypatch.setattr(midigpt_loggers.none, "build", lambda _, context, kind=kind: kind(context.run_dir, "csv"))
        caplog.clear()
        result = train(configure(kind.__name__, **SETTINGS, sample_steps=6), shard)
        assert list(music(result.run_dir)) == [f"step6/{name}.mid" for name in PROMPTS]
        messages = [record.message for record in caplog.records if "is not in the logger" in record.message]
        assert len(messages) == refused
    assert messages[0] == "prompt1 of step 6 is not in the logger: ConnectionError: no line for prompt1"


class Hearing(CSVLogger):
    """A logger that knows sound."""

    def __init__(self, *places: Any) -> None:
        super().__init__(*places)
        self.heard: list[tuple[str, str, int]] = []

    def log_sample(self, name: str, midi: Path, piano_roll: Path, step: int) -> None:
        return

    def log_sample_audio(self, name: str, audio: Path, step: int) -> None:
        assert audio.read_bytes()[:4] == b"RIFF"
        self.heard.append((name, audio.name, step))


def test_samples_can_be_heard(
    configure: Configure, shard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = tmp_path / "bank.sf2"
    bank.write_bytes(soundfont())
    audio = {"sample_steps": 3, "sample_audio": "ogg", "soundfont": str(bank)}
    result = train(configure("tb", **SETTINGS, **audio, logger="tensorboard"), shard, shard)
    without = train(configure("without", **SETTINGS, sample_steps=3), shard, shard)
    assert music(result.run_dir) == music(without.run_dir)
    assert curve(result.run_dir) == curve(without.run_dir)
    for path in music(result.run_dir):
        midi = result.run_dir / "samples" / path
        samples, rate = soundfile.read(midi.with_suffix(".ogg"))
        assert 1 < len(samples) / rate < 60
        assert abs(samples).max() > 0.01 or not len(Score.from_midi(midi).columns.note_pitch)
    events = EventAccumulator(str(result.run_dir / "tensorboard")).Reload()
    assert set(events.Tags()["audio"]) == {f"samples/{name}" for name in PROMPTS}
    assert [(event.step, event.sample_rate) for event in events.Audio("samples/prompt1")] == [(3, 44100), (6, 44100)]

    loggers: list[Hearing] = []

    def build(_: None, context: Any) -> Hearing:
        loggers.append(Hearing(context.run_dir, "csv"))
        return loggers[-1]

    monkeypatch.setattr(midigpt_loggers.none, "build", build)
    monkeypatch.setenv("MIDIGPT_SOUNDFONT", str(bank))
    train(configure("own", **SETTINGS, sample_steps=6, sample_audio="wav"), shard)
    assert loggers[0].heard == [(name, f"{name}.wav", 6) for name in PROMPTS]


def test_sound_that_fails_is_a_warning_and_the_music_stays(
    configure: Configure, shard: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank = tmp_path / "bank.sf2"
    bank.write_bytes(soundfont())
    config = configure(**SETTINGS, sample_steps=6, sample_audio="wav", soundfont=str(bank))

    def render(*_: Any, **__: Any) -> bool:
        raise RuntimeError("no voice")

    monkeypatch.setattr(Renderer, "render", render)
    result = train(config, shard)
    assert list(music(result.run_dir)) == [f"step6/{name}.mid" for name in PROMPTS]
    assert "no sound of the samples at step 6: RuntimeError: no voice" in caplog.text


def test_settings_of_sound_that_would_do_nothing_or_cannot_be_met_are_refused(
    configure: Configure, shard: Path, tmp_path: Path
) -> None:
    for settings, message in (
        ({"sample_audio": "ogg"}, r"sample_audio: ogg needs samples\. Set sample_steps, or sample_audio to none"),
        ({"soundfont": "a.sf2", "sample_steps": 5}, r"soundfont: is the bank for sample_audio, which is none\. Set"),
        (
            {"sample_steps": 5, "sample_audio": "wav", "soundfont": str(tmp_path / "none.sf2")},
            r"soundfont .*none\.sf2: cannot be read \(No such file or directory\)\. Name an \.sf2",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            prepare(configure(**settings), shard)


def test_what_is_written_is_described(configure: Configure, shard: Path) -> None:
    result = train(configure(**SETTINGS, sample_steps=6), shard)
    described = json.loads((result.run_dir / "samples" / "step6" / "samples.json").read_text(encoding="utf-8"))
    assert list(described) == list(PROMPTS)
    for name, sample in described.items():
        score = Score.from_midi(result.run_dir / "samples" / "step6" / f"{name}.mid")
        assert re.fullmatch(r"row \d+, bars \d+ to \d+, track \d+ (filled in|written from scratch)", sample["title"])
        assert sample["written"] == sorted(sample["written"])
        assert all(track < 4 and bar < 4 for track, bar in sample["written"])
        assert len(score.tracks) >= 1


def test_samples_take_no_time_of_the_steps(tmp_path: Path) -> None:
    now = [0.0]
    clock = StepClock(lambda: now[0])

    def bundle() -> None:
        now[0] += 100.0

    run = MeasuredRun(module=cast("Any", None), bundle=bundle, sinks=[], signals=StopSignals(), clock=clock)
    writer = SampleWriter(tmp_path, run, every=2, prompts=list, logger=None)
    for step in (1, 2, 2, 3):
        now[0] += 1.0
        writer.on_train_batch_end(cast("Any", SimpleNamespace(global_step=step)), cast("Any", None))
    assert now[0] == 104.0
    assert clock.lap() == (4.0, 0.0)


def test_an_encoder_without_a_grammar_is_refused_at_once(
    configure: Configure, shard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MidigptEncoder, "grammar", lambda _: None)
    with pytest.raises(ConfigError, match=r"sample_steps: encoder 'midigpt' has no grammar"):
        prepare(configure(sample_steps=5), shard)
    prepare(configure(), shard)
