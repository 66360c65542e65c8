"""Plugins of every kind that fail in the middle of the work: one line that names component, plugin and place."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient
from midigpt_server.app import build_app
from midigpt_server.models import Model, Models
from midigpt_server.settings import ModelSettings, ServerSettings

from midigpt_core.cli import main
from midigpt_core.plugins import Selection, load_registry
from midigpt_core.testing import music
from midigpt_core.testing.general import process_registry
from support.serving import body

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
#: The sound parts that those of this file replace methods of.
SOUND = ("architecture", "checkpoint-format", "encoder", "logger", "optimizer", "source")

PLUGIN = """
from midigpt_core import components, hookimpl

MIDIGPT_API = 1

@hookimpl
def midigpt_sources():
    return [components.SourceSpec(name="shaky", summary="x", target="shakypart:source")]

@hookimpl
def midigpt_encoders():
    return [components.EncoderSpec(name="shaky", summary="x", target="shakypart:encoder",
                                   options="midigpt_plugin_sixteenths.encoder:Options")]

@hookimpl
def midigpt_architectures():
    return [components.ArchitectureSpec(name="shaky", summary="x", target="shakypart:architecture",
                                        options="midigpt_plugin_one_layer.architecture:Options")]

@hookimpl
def midigpt_optimizers():
    return [components.OptimizerSpec(name="shaky", summary="x", target="shakypart:optimizer")]

@hookimpl
def midigpt_loggers():
    return [components.LoggerSpec(name="shaky", summary="x", target="shakypart:logger")]

@hookimpl
def midigpt_checkpoint_formats():
    return [components.CheckpointFormatSpec(name="shaky", summary="x", target="shakypart:checkpoint_format",
                                            suffixes=(".shaky",))]

@hookimpl
def midigpt_callbacks(run):
    from shakypart import Callback

    return [Callback()]
"""
#: ``{kind}`` is the body of the class of that kind, ``pass`` for a sound one; ``{built}`` replaces a factory.
PART = """
import attrs
import lightning.pytorch.callbacks
import numpy as np
from midigpt_plugin_arrays import checkpoint_format as formats
from midigpt_plugin_one_layer import architecture as models
from midigpt_plugin_{logger_package} import logger as loggers
from midigpt_plugin_{optimizer_package} import optimizer as optimizers
from midigpt_plugin_sixteenths import encoder as encoders
from midigpt_plugin_{source_package} import source as sources

def boom(*arguments, **options):
    raise KeyError("boom")

class Callback(lightning.pytorch.callbacks.Callback):
    {callback}

class Shard(sources.Folder):
    {shard}

class Source(sources.Source):
    def shards(self):
        return [Shard(shard.path, self.options.pattern, shard.hash_file) for shard in super().shards()]

def source(options, context):
    return Source(sources.Options(), context)

class Encoder(encoders.Encoder):
    {encoder}

def encoder(options, context):
    return Encoder(options)

class Model(models.Model):
    {architecture}

def architecture(options, context):
    return Model(options, context)

class Optimizer(optimizers.Lion):
    {optimizer}

def optimizer(options, context):
    groups = [
        {{"params": list(context.decayed), "weight_decay": 0.0}},
        {{"params": list(context.undecayed), "weight_decay": 0.0}},
    ]
    return Optimizer(groups, 1e-3, (0.9, 0.99))

class Logger(loggers.TextLogger):
    {logger}

def logger(options, context):
    return Logger(context.run_dir / "log.txt", context.run_name)

class Format(formats.Format):
    def matches(self, path):
        return path.suffix == ".shaky"
    {checkpoint_format}

def checkpoint_format(options, context):
    return Format()

{built}
"""
KINDS = ("callback", "shard", "encoder", "architecture", "optimizer", "logger", "checkpoint_format")


def package(example: str) -> str:
    (found,) = (EXAMPLES / example).glob("midigpt_plugin_*")
    return found.name.removeprefix("midigpt_plugin_")


def write_part(folder: Path, **bodies: str) -> None:
    packages = {f"{name}_package": package(name) for name in ("logger", "optimizer", "source")}
    written = PART.format(**({"built": ""} | dict.fromkeys(KINDS, "pass") | packages | bodies))
    (folder / "plugins" / "shakypart.py").write_text(written)
    forget()


def forget() -> None:
    for name in ("shaky", "shakypart"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Songs, the plugin, and a bundle that was trained with its sound architecture."""
    folder = tmp_path_factory.mktemp("shaky")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, *(str(EXAMPLES / name) for name in SOUND)])
        patch.setenv("MIDIGPT_CACHE", str(folder / "cache"))
        for number, score in enumerate(music.scores()):
            score.to_midi(folder / "songs" / f"{number}.mid")
        (folder / "plugins").mkdir()
        (folder / "plugins" / "shaky.py").write_text(PLUGIN)
        tiny = {"n_embd": 16, "n_layer": 1, "n_head": 1, "n_positions": 512, "max_seq_len": 512, "batch_size": 2}
        steps = {"max_steps": 2, "warmup_steps": 1, "source": "midifiles", "encoder_config_path": "ghost"}
        every = {"log_steps": 1, "save_steps": 1, "eval_steps": 1, "eval_rows": 2}
        (folder / "tiny.json").write_text(json.dumps(tiny | steps | every))
        write_part(folder)
        assert train(folder, "sound", "--architecture", "shaky") == 0
        yield folder
    forget()


def command(folder: Path, *arguments: str) -> int:
    return main(["--plugins-dir", str(folder / "plugins"), *arguments])


def train(folder: Path, name: str, *flags: str) -> int:
    songs = str(folder / "songs")
    return command(
        folder, "train", "--config", str(folder / "tiny.json"), "--train-data", songs, "--eval-data", songs,
        "--output-dir", str(folder / name), *flags,
    )  # fmt: skip


TRAINING = {
    "architecture-forward": ("architecture", "forward = boom", "architecture 'shaky'", "KeyError: 'boom'"),
    "architecture-logits": (
        "architecture",
        "def forward(self, *given, **options): return super().forward(*given, **options)[..., :7]",
        "architecture 'shaky'",
        "(step 1): TypeError: forward() returned logits of shape [2, 512, 7], not [2, 512, 650]",
    ),
    "architecture-evaluation": (
        "architecture",
        "def eval(self): return boom()\n    def train(self, mode=True): return super().train(mode) if mode else boom()",
        "architecture 'shaky'",
        "KeyError: 'boom'",
    ),
    "architecture-config": ("architecture", "architecture_config = boom", "architecture 'shaky'", "KeyError: 'boom'"),
    "architecture-cannot-be-read-again": (
        "architecture",
        "def architecture_config(self): return super().architecture_config() | {'depth': 3}",
        "architecture 'shaky'",
        "(architecture_config()): ValueError: a bundle with what it returned could not be read: architecture.depth",
    ),
    "architecture-is-none": (
        "built",
        "def architecture(options, context): return 5",
        "architecture 'shaky'",
        "(while it was built): TypeError: its factory returned an object of type int, which has no forward",
    ),
    "encoder-config": ("encoder", "to_config = boom", "encoder 'shaky'", "(before the run): KeyError: 'boom'"),
    "encoder-cannot-be-read-again": (
        "encoder",
        "def to_config(self): return {'tempo': 3}",
        "encoder 'shaky'",
        "(to_config()): ValueError: a bundle with what it returned could not be read: encoder.tempo",
    ),
    "encoder-tokens": (
        "encoder",
        "def encode_window(self, *given): return [0.5], 0",
        "encoder 'shaky'",
        "TypeError: encode_window() returned token ids of type float64, not integers",
    ),
    "optimizer-step": ("optimizer", "step = boom", "optimiser 'shaky'", "KeyError: 'boom'"),
    "optimizer-state": ("optimizer", "state_dict = boom", "optimiser 'shaky'", "KeyError: 'boom'"),
    "optimizer-is-none": (
        "built", "def optimizer(options, context): return None", "optimiser 'shaky'", "NoneType, which has no step",
    ),
    "logger-metrics": ("logger", "log_metrics = boom", "logger 'shaky'", "(step 2): KeyError: 'boom'"),
    "logger-end": ("logger", "finalize = boom", "logger 'shaky'", "KeyError: 'boom'"),
    "checkpoint-format-save": (
        "checkpoint_format", "save = boom", "checkpoint format 'shaky'", "model-step1.shaky): KeyError: 'boom'",
    ),
    "checkpoint-format-writes-nothing": (
        "checkpoint_format",
        "def save(self, bundle, path): pass",
        "checkpoint format 'shaky'",
        "model-step1.shaky): FileNotFoundError: save() wrote nothing there",
    ),
    "callback": ("callback", "on_train_batch_end = boom", "a plugin of", "KeyError: 'boom'"),
    "source-lengths": (
        "shard",
        "def batches(self):\n        for rows in super().batches(): yield attrs.evolve(rows, row=rows.row[:-1])",
        "source 'shaky'",
        "ValueError: batches() gave 2 ids for 1 rows",
    ),
    "source-rows": (
        "shard",
        "def batches(self):\n        for rows in super().batches(): yield attrs.evolve(rows, row=rows.row / 2)",
        "source 'shaky'",
        "ValueError: batches() gave row as float64, not as a one-dimensional array of int64",
    ),
    "source-name": ("shard", "name = 7", "source 'shaky'", "TypeError: the name of a shard is 7, not a str"),
}  # fmt: skip


@pytest.mark.parametrize("case", TRAINING)
def test_a_fault_in_training_names_the_component(folder: Path, capfd: pytest.CaptureFixture[str], case: str) -> None:
    what, text, component, cause = TRAINING[case]
    kind = case.split("-", maxsplit=1)[0] if not case.startswith("checkpoint-format") else "checkpoint-format"
    write_part(folder, **{what: text})
    flags = [] if kind == "callback" else [f"--{kind}", "shaky"]
    assert train(folder, case, *flags) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("Error: ")]
    assert line.startswith(f"Error: {component} ")
    assert str(folder / "plugins") in line
    assert cause in line
    assert line.endswith("This is a bug of the plugin; --traceback shows where it happened.")
    write_part(folder)


def test_a_fault_after_training_names_the_architecture(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bundle, songs = str(folder / "sound" / "model_final.pt"), folder / "songs"
    write_part(folder, architecture="forward = boom")
    generated = command(
        folder, "generate", "--checkpoint", bundle, "--input", str(songs / "0.mid"), "--track", "0", "--bars", "1-1",
        "-o", str(folder / "generated"),
    )  # fmt: skip
    assert generated == 2
    assert "architecture 'shaky' of " in (line := capfd.readouterr().err)
    assert "(in generation): KeyError: 'boom'. This is a bug of the plugin" in line
    assert command(folder, "evaluate", "--checkpoint", bundle, "--data", str(songs)) == 2
    assert "(in evaluation): KeyError: 'boom'. This is a bug of the plugin" in capfd.readouterr().err
    write_part(folder)


def test_a_fault_of_one_request_does_not_end_the_server(folder: Path) -> None:
    write_part(folder, architecture="forward = boom")
    with serving(folder) as client:
        for _ in range(2):
            answer = client.post("/generate", json=body(2))
            assert answer.status_code == 500, answer.json()
            assert "architecture 'shaky' of " in answer.json()["detail"]
            assert "(in generation): KeyError. This is a bug of the plugin." in answer.json()["detail"]
    write_part(folder)


@contextmanager
def serving(folder: Path) -> Iterator[TestClient]:
    """A server over the bundle of the plugin, in this process."""
    registry = load_registry(Selection(plugin_dirs=(str(folder / "plugins"),)))
    with process_registry(registry):
        model = Model.load(ModelSettings(id="shaky", checkpoint=str(folder / "sound" / "model_final.pt")))
        app = build_app(Models([model]), ServerSettings(models=[ModelSettings(id="shaky")]), lambda: None)
        with TestClient(app, base_url="http://127.0.0.1:3456", raise_server_exceptions=False) as client:
            yield client


def test_a_format_that_cannot_read_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert train(folder, "stored", "--checkpoint-format", "shaky") == 0
    bundle = str(folder / "stored" / "model_final.shaky")
    for method, when in (("matches", f"is {bundle} of this format"), ("read_header", f"reading {bundle}")):
        write_part(folder, checkpoint_format=f"{method} = boom")
        capfd.readouterr()
        assert command(folder, "inspect", bundle) == 2
        assert f"({when}): KeyError: 'boom'. This is a bug of the plugin" in capfd.readouterr().err
    write_part(folder)
