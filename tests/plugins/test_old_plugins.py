"""Plugins that were written for the first version of the interface still load, check and train without a warning."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from midigpt_core.cli.main import main
from midigpt_core.contracts import (
    ArchitectureContext,
    EncoderContext,
    FormatContext,
    LoggerContext,
    MaskContext,
    MetricContext,
    SourceContext,
)
from midigpt_core.encoding.window_encoder import WindowEncoder
from midigpt_core.plugins import Registry, Selection, build, load_registry, registry
from midigpt_core.testing import music

if TYPE_CHECKING:
    from collections.abc import Iterator

OLD = Path(__file__).resolve().parents[1] / "data" / "plugins_api_1"
MIDI = OLD.parent / "midi"
#: Plugin -> kind and name of its component; a callback has none.
PLUGINS = {
    "arrays": ("checkpoint-format", "arrays"),
    "empty-bars": ("metric", "empty-bars"),
    "every-other": ("mask", "every-other"),
    "folders": ("source", "folders"),
    "gains": ("adapter", "gains"),
    "leaps": ("attribute", "leaps"),
    "lines": ("logger", "lines"),
    "lion": ("optimizer", "lion"),
    "one-layer": ("architecture", "one-layer"),
    "patience": None,
    "sixteenths": ("encoder", "sixteenths"),
    "weight-norm": None,
}
#: Of all files with their names. Whoever changes a file for a new version of the interface hides what it breaks.
SHA256 = "f735912c376e2e91319b28f021ade6620ea635661260408b1e46478d55e45e0a"


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    # Another test may have loaded plugins of these names from examples/.
    for name in [name for name in sys.modules if name.startswith("midigpt_plugin_")]:
        monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(registry, "_current", [])
    yield load_registry(Selection(plugin_dirs=(str(OLD),)))
    for name in set(sys.modules) - before:
        if name.startswith("midigpt_plugin_"):
            del sys.modules[name]


def test_they_are_as_they_were() -> None:
    seen = hashlib.sha256()
    for path in sorted(OLD.rglob("*.py")):
        seen.update(f"{path.relative_to(OLD).as_posix()}\n".encode() + path.read_bytes())
    assert seen.hexdigest() == SHA256


def test_all_load_and_build_without_a_warning(old: Registry, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    assert {entry.name for entry in old.entries if entry.status == "local"} == set(PLUGINS)
    contexts = {
        "architecture": ArchitectureContext(vocab_size=100, max_seq_len=64),
        "checkpoint-format": FormatContext(),
        "encoder": EncoderContext(),
        "logger": LoggerContext(run_dir=tmp_path, run_name="old"),
        "mask": MaskContext(),
        "source": SourceContext(paths=(str(MIDI),)),
    }
    with caplog.at_level(logging.WARNING, "midigpt_core"):
        refs = {plugin: old.resolve(*found) for plugin, found in PLUGINS.items() if found is not None}
        for ref in refs.values():
            if ref.kind in contexts:
                assert build(ref, contexts[ref.kind]) is not None
        encoder = build(refs["sixteenths"], EncoderContext())
        assert isinstance(encoder, WindowEncoder)
        assert build(refs["empty-bars"], MetricContext(encoder=encoder, seed=1)) is not None
    assert old.set_aside == {}
    assert caplog.messages == []


def test_a_run_uses_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Registry) -> None:
    """But for the encoder, which has no token for a masked bar, and the metric, which needs generated music."""
    for number, score in enumerate(music.scores()):
        score.to_midi(tmp_path / "songs" / f"{number}.mid")
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    settings = {
        "source": "folders", "encoder-config": "ghost", "mask": "every-other", "mask-apply-probability": 0.5,
        "architecture": "one-layer", "optimizer": "lion", "logger": "lines", "checkpoint-format": "arrays",
        "max-seq-len": 128, "batch-size": 2, "max-steps": 2, "warmup-steps": 1, "log-steps": 1, "precision": "fp32",
        "num-workers": 0,
    }  # fmt: skip
    flags = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
    data = ["--train-data", str(tmp_path / "songs"), "--output-dir", str(tmp_path / "run")]
    assert main(["--plugins-dir", str(OLD), "train", *flags, *data]) == 0
    assert (tmp_path / "run" / "model_final.arrays").is_file()
    assert (tmp_path / "run" / "weight_norm.txt").is_file()
    assert [line.split()[0] for line in (tmp_path / "run" / "lines.txt").read_text().splitlines()][-1] == "2"


def test_an_attribute_control_and_an_adapter_take_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """A base that is trained with the control, an adapter of it, and music that is asked for by the control."""
    for number, score in enumerate(music.scores()):
        score.to_midi(tmp_path / "songs" / f"{number}.mid")
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    common = {
        "batch-size": 2, "max-steps": 2, "warmup-steps": 1, "log-steps": 1, "precision": "fp32", "num-workers": 0,
        "train-data": tmp_path / "songs",
    }  # fmt: skip
    encoder = json.dumps({"name": "midigpt", "config": "yellow", "attributes": ["leaps/leaps"]})
    tiny = {"encoder": encoder, "n-embd": 16, "n-layer": 1, "n-head": 1, "n-positions": 256, "max-seq-len": 256}
    base, run = tmp_path / "base", tmp_path / "run"
    for settings in (
        tiny | {"output-dir": base},
        {"init-from": base / "model_final.pt", "adapter": "gains", "max-seq-len": 256, "output-dir": run},
    ):
        flags = [word for name, value in (common | settings).items() for word in (f"--{name}", str(value))]
        assert main(["--plugins-dir", str(OLD), "train", *flags]) == 0
    capsys.readouterr()
    asked = ["--input", str(tmp_path / "songs" / "0.mid"), "--track", "0", "--bars", "2-3", "--seed", "1"]
    asked += ["--autoregressive", "--attribute", "leaps/leaps=2", "--json", "-o", str(tmp_path / "out")]
    command = ["generate", "--checkpoint", str(run / "model_final.pt"), *asked]
    assert main(["--plugins-dir", str(OLD), *command]) == 0
    assert "leaps" in capsys.readouterr().out


def test_the_command_runs(old: Registry) -> None:
    command = import_module("midigpt_plugin_count_notes.command").command
    result = CliRunner().invoke(command, [str(MIDI / "piano_bell.mid")])
    assert result.exit_code == 0
    assert result.output.endswith(" notes\n")
