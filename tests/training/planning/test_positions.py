"""How a run numbers filled bars: settled before it starts, kept in what it leaves, refused where it cannot be."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import torch
from attrs import evolve

from midigpt_core.checkpoint import inspect, load_checkpoint, save_bundle
from midigpt_core.cli import main
from midigpt_core.config import TrainConfig
from midigpt_core.errors import CheckpointError, ConfigError
from midigpt_core.inference import InferenceEngine
from midigpt_core.plugins import Selection, load_registry, use_registry
from midigpt_core.plugins.registry import current_registry
from midigpt_core.training.dry_run import estimate
from midigpt_core.training.evaluate import evaluate
from midigpt_core.training.planning.prepare import prepare
from midigpt_core.training.run import fit, train
from support.training import curve, evaluations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from midigpt_core.plugins import Registry
    from support.training import Configure

#: An architecture that counts, whatever it is told, and an encoder that has never heard of positions.
LOCAL_PLUGIN = """
from attrs import frozen
from midigpt_core import hookimpl
from midigpt_core.components import ArchitectureSpec, EncoderSpec
from midigpt_core.records import Vocabulary
from midigpt_core.encoding.window_encoder import WindowEncoder
from midigpt_gpt2.factory import build as build_gpt2
from midigpt_gpt2.options import Gpt2Options
import numpy as np

MIDIGPT_API = 1

@hookimpl
def midigpt_architectures():
    return [ArchitectureSpec(name="counting", summary="test", target="oldplugin:build", options="oldplugin:Options")]

@hookimpl
def midigpt_encoders():
    return [EncoderSpec(name="pitches", summary="test", target="oldplugin:build_encoder")]

@frozen(kw_only=True)
class Options(Gpt2Options):
    n_embd: int = 32
    n_layer: int = 1
    n_head: int = 2

def build(options, context):
    return build_gpt2(options, context)

class Pitches(WindowEncoder):
    vocabulary = Vocabulary(
        size=128,
        type_names=("Pitch",),
        type_of=np.zeros(128, np.uint8),
        value_of=np.arange(128, dtype=np.int32),
    )
    provides = frozenset()

    def to_config(self):
        return {}

    def encode_window(self, score, window, index):
        notes = [int(pitch) for track in score.tracks for bar in track.bars for pitch in bar.notes.pitch]
        return notes[:128] or [0], 0

    def decode(self, tokens):
        raise NotImplementedError

def build_encoder(options, context):
    return Pitches()
"""


@pytest.fixture(scope="module")
def with_old_plugin(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "oldplugin.py").write_text(LOCAL_PLUGIN, encoding="utf-8")
    return load_registry(Selection(plugin_dirs=(str(folder),)))


@pytest.fixture
def old_plugin(with_old_plugin: Registry) -> Iterator[None]:
    before = current_registry()
    use_registry(with_old_plugin)
    yield
    use_registry(before)


@pytest.fixture(scope="module")
def of_placeholders(make_config: Configure, shard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run, saved at steps 2 and 4."""
    config = make_config(
        tmp_path_factory.mktemp("placeholder") / "run", max_steps=4, save_steps=2, infill_positions="placeholder"
    )
    return train(config, shard, shard).run_dir


@pytest.fixture(scope="module")
def in_sequence(make_config: Configure, shard: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = make_config(
        tmp_path_factory.mktemp("sequence") / "run", max_steps=4, save_steps=2, infill_positions="sequence"
    )
    return train(config, shard, shard).run_dir


def test_a_bundle_says_how_its_filled_bars_are_numbered(of_placeholders: Path, in_sequence: Path) -> None:
    ours, theirs = load_checkpoint(of_placeholders / "model_final.pt"), load_checkpoint(in_sequence / "model_final.pt")
    assert ours.encoder_config == {**theirs.encoder_config, "infill_positions": "placeholder"}
    assert "infill_positions" not in theirs.encoder_config, "the encoder of the public package, key by key"
    assert inspect(of_placeholders / "model_final.pt").infill_positions == "placeholder"
    assert inspect(in_sequence / "model_final.pt").infill_positions == "sequence"
    assert InferenceEngine.from_bundle(ours).encoder.infill_positions == "placeholder"
    kept = json.loads((of_placeholders / "config.json").read_text(encoding="utf-8"))
    assert kept["infill_positions"] == "placeholder"


def test_only_documents_with_filled_bars_are_trained_otherwise(of_placeholders: Path, in_sequence: Path) -> None:
    (ours,), (theirs,) = evaluations(of_placeholders), evaluations(in_sequence)
    assert ours["eval_loss/infill_target"] != theirs["eval_loss/infill_target"]
    assert curve(of_placeholders)[0][1] != curve(in_sequence)[0][1]


def test_evaluation_repeats_the_figures_of_the_run(of_placeholders: Path, shard: Path) -> None:
    (during,) = evaluations(of_placeholders)
    report = evaluate(of_placeholders / "model_final.pt", shard, device="cpu")
    assert report.loss == pytest.approx(during["eval_loss"], rel=1e-6)
    assert report.by_kind["infill_target"] == pytest.approx(during["eval_loss/infill_target"], rel=1e-6)
    assert set(report.by_kind) == {"ar", "infill_context", "infill_target"}


@pytest.mark.parametrize("setting", ["placeholder", "sequence"])
def test_a_run_that_is_continued_keeps_its_setting(
    setting: str, of_placeholders: Path, in_sequence: Path, configure: Configure, shard: Path
) -> None:
    """To the bit, and whatever the default is."""
    run = {"placeholder": of_placeholders, "sequence": in_sequence}[setting]
    config = configure("again", max_steps=4, save_steps=2)
    result = train(config, shard, shard, resume=run / "checkpoints" / "step2.ckpt")
    assert curve(result.run_dir)[-2:] == curve(run)[-2:]
    assert inspect(result.bundle).infill_positions == setting
    ours, before = load_checkpoint(result.bundle), load_checkpoint(run / "model_final.pt")
    assert all(torch.equal(ours.state_dict[name], weight) for name, weight in before.state_dict.items())


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize("setting", ["placeholder", "sequence"])
def test_a_checkpoint_with_a_callbacks_own_values_keeps_its_setting(
    setting: str, of_placeholders: Path, in_sequence: Path, configure: Configure, shard: Path
) -> None:
    """All that torch.load reads with weights_only."""
    run = {"placeholder": of_placeholders, "sequence": in_sequence}[setting]
    state = torch.load(run / "checkpoints" / "step2.ckpt", weights_only=True)
    state["callbacks"]["Counted"] = {
        "seen": {1, 2},
        "counts": Counter("aab"),
        "shape": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "raw": b"\x00\xff",
        "number": 1 + 2j,
        (1, 2): None,
    }
    checkpoint = run.parent / "step2.ckpt"
    torch.save(state, checkpoint)
    config = configure("again", max_steps=4, save_steps=2)
    plan = prepare(config, shard, shard, resume=checkpoint)
    assert estimate(plan).parameters > 0
    result = fit(plan)
    assert curve(result.run_dir)[-2:] == curve(run)[-2:]
    assert evaluations(result.run_dir) == evaluations(run)
    assert inspect(result.bundle).infill_positions == setting
    assert TrainConfig.from_file(result.run_dir / "config.json").infill_positions == setting


@pytest.mark.parametrize("setting", ["placeholder", "sequence"])
def test_a_checkpoint_of_the_other_setting_is_not_resumed(
    setting: str, of_placeholders: Path, in_sequence: Path, configure: Configure, shard: Path
) -> None:
    other = {"placeholder": in_sequence, "sequence": of_placeholders}[setting]
    config = configure("again", max_steps=4, save_steps=2, infill_positions=setting)
    with pytest.raises(CheckpointError, match=r"of another model: encoder_config\.infill_positions is "):
        train(config, shard, shard, resume=other / "checkpoints" / "step2.ckpt")


@pytest.mark.parametrize("setting", ["placeholder", "sequence"])
def test_a_run_from_a_bundle_keeps_its_setting(
    setting: str, of_placeholders: Path, in_sequence: Path, tmp_path: Path, shard: Path
) -> None:
    run = {"placeholder": of_placeholders, "sequence": in_sequence}[setting]
    other = {"placeholder": "sequence", "sequence": "placeholder"}[setting]
    bundle = str(run / "model_final.pt")

    def plan(**changes: Any) -> Any:
        return prepare(TrainConfig(init_from=bundle, output_dir=str(tmp_path / "run"), max_tracks=2, **changes), shard)

    for taken in (plan(), plan(infill_positions=setting), plan(encoder_config_path="yellow")):
        assert taken.encoder.infill_positions == taken.config.infill_positions == setting
        assert taken.training.open().encoder.infill_positions == setting, "data workers build it again"
    with pytest.raises(ConfigError, match=rf"infill_positions: is '{other}', but '{setting}' in .*Leave it out"):
        plan(infill_positions=other)


def test_the_encoder_of_a_bundle_keeps_its_setting(of_placeholders: Path, configure: Configure, shard: Path) -> None:
    bundle = str(of_placeholders / "model_final.pt")
    assert prepare(configure(encoder_config_path=bundle), shard).encoder.infill_positions == "placeholder"
    config = configure(encoder_config_path=bundle, infill_positions="sequence")
    with pytest.raises(ConfigError, match=r"infill_positions: is 'sequence', but encoder 'midigpt' .* 'placeholder'"):
        prepare(config, shard)


def test_a_file_that_says_so_is_obeyed(of_placeholders: Path, configure: Configure, shard: Path) -> None:
    values = load_checkpoint(of_placeholders / "model_final.pt").encoder_config
    for setting in ("sequence", "placeholder"):
        path = of_placeholders.parent / f"{setting}.json"
        path.write_text(json.dumps({**values, "infill_positions": setting}), encoding="utf-8")
        assert prepare(configure(encoder_config_path=str(path)), shard).encoder.infill_positions == setting


def of_counting(folder: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "architecture": {"name": "counting"},
        "n_positions": 256,
        "max_seq_len": 256,
        "max_tracks": 2,
        "batch_size": 2,
        "max_steps": 1,
        "warmup_steps": 0,
        "precision": "fp32",
        "output_dir": str(folder),
    }
    return TrainConfig(**{**values, **changes})


@pytest.mark.usefixtures("old_plugin")
def test_third_parties_without_positions_train_in_sequence(configure: Configure, shard: Path, tmp_path: Path) -> None:
    model = train(of_counting(tmp_path / "a"), shard).bundle
    assert inspect(model).infill_positions == "sequence"
    config = configure("b", encoder={"name": "pitches"}, infill_probability=0.0, max_steps=1)
    assert inspect(train(config, shard).bundle).infill_positions == "sequence"


@pytest.mark.usefixtures("old_plugin")
def test_what_third_parties_cannot_is_refused_by_name(
    of_placeholders: Path, configure: Configure, shard: Path, tmp_path: Path
) -> None:
    config = of_counting(tmp_path / "run", infill_positions="placeholder")
    with pytest.raises(ConfigError, match="infill_positions: architecture 'counting' does not provide 'placeholder'"):
        prepare(config, shard)
    config = configure(encoder={"name": "pitches"}, infill_probability=0.0, infill_positions="placeholder")
    with pytest.raises(ConfigError, match=r"infill_positions: is 'placeholder', but encoder 'pitches' .* 'sequence'"):
        prepare(config, shard)
    bundle = evolve(load_checkpoint(of_placeholders / "model_final.pt"), architecture="counting")
    path = save_bundle(bundle, tmp_path / "model.pt")
    refusal = "infill_positions is 'placeholder', and architecture 'counting' does not provide it"
    with pytest.raises(CheckpointError, match=refusal):
        load_checkpoint(path)
    with pytest.raises(CheckpointError, match=refusal):
        InferenceEngine.from_bundle(bundle)


def test_an_encoder_that_does_not_do_as_its_bundle_says_is_refused(
    of_placeholders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as that of an earlier version, which leaves the field out as unknown."""
    encoder = type(InferenceEngine.from_checkpoint(of_placeholders / "model_final.pt").encoder)
    monkeypatch.setattr(encoder, "infill_positions", "sequence")
    with pytest.raises(
        CheckpointError, match="infill_positions is 'placeholder', and encoder 'midigpt' has 'sequence' here"
    ):
        load_checkpoint(of_placeholders / "model_final.pt")


def test_a_setting_that_nobody_knows_is_refused(of_placeholders: Path, tmp_path: Path) -> None:
    bundle = load_checkpoint(of_placeholders / "model_final.pt")
    unknown = {**bundle.encoder_config, "infill_positions": "somewhere"}
    path = save_bundle(evolve(bundle, encoder_config=unknown), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="infill_positions: no way to number filled bars named 'somewhere'"):
        load_checkpoint(path)
    with pytest.raises(ConfigError, match="infill_positions"):
        TrainConfig(infill_positions="placeholders")


def test_every_format_keeps_it_and_convert_warns(
    of_placeholders: Path,
    in_sequence: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = of_placeholders / "model_final.pt"
    for name in ("a.pt", "b.safetensors", "c"):
        assert main(["convert", str(source), str(tmp_path / name)]) == 0
        said = f"{name}: infill_positions is 'placeholder', which the public package midigpt does not know"
        assert said in caplog.text
        capsys.readouterr()
        source = tmp_path / name
        assert inspect(source).infill_positions == "placeholder"
        assert main(["inspect", str(source)]) == 0
        assert "infill positions  placeholder" in capsys.readouterr().out
    card = (tmp_path / "c" / "README.md").read_text(encoding="utf-8")
    assert "Positions (`infill_positions`): `placeholder`." in card
    caplog.clear()
    assert main(["convert", str(in_sequence / "model_final.pt"), str(tmp_path / "d")]) == 0
    assert "infill_positions" not in caplog.text
    assert "`infill_positions`): `sequence`." in (tmp_path / "d" / "README.md").read_text(encoding="utf-8")
