"""The pages show requests and commands that work."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from midigpt_core.checkpoint import build_model, save_bundle
from midigpt_core.checkpoint.assemble import with_weights
from midigpt_core.cli.main import main
from midigpt_core.contracts import BundleHeader, EncoderContext
from midigpt_core.inference import InferenceEngine
from midigpt_core.plugins import build, current_registry
from midigpt_core.score import Score
from midigpt_core.testing import music
from support.soundfont import soundfont

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle ``model_final.pt`` with random weights and a ``song.mid`` of three tracks, in the current folder."""
    encoder: Any = build(current_registry().find("encoder", "midigpt").ref({"config": "yellow"}), EncoderContext())
    header = BundleHeader(
        architecture="gpt2",
        architecture_config={
            "vocab_size": encoder.vocab_size,
            "n_positions": 2048,
            "n_embd": 16,
            "n_layer": 1,
            "n_head": 1,
        },
        encoder="midigpt",
        encoder_config=encoder.to_config(),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_bundle(with_weights(header, build_model(header).state_dict()), tmp_path / "model_final.pt")
    content = music.scores()[0].to_dict()
    content["tracks"][0], content["tracks"][2] = content["tracks"][2], content["tracks"][0]
    Score.from_dict(content).to_midi(tmp_path / "song.mid")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_page_writes_four_variations(folder: Path) -> None:
    names: dict[str, Any] = {}
    for block in blocks("docs/generation.md"):
        exec(compile(block, "docs/generation.md", "exec"), names)
    assert Score.from_midi(folder / "song-controlled.mid").digest() != Score.from_midi(folder / "song.mid").digest()
    written = [Score.from_midi(folder / f"song-{number}.mid") for number in range(4)]
    assert len({score.digest() for score in written}) == 4
    assert all(len(score.tracks) == 4 for score in written)


def test_the_readme_fills_two_bars(folder: Path) -> None:
    (block,) = (block for block in blocks("README.md") if "GenerationRequest" in block)
    exec(compile(block, "README.md", "exec"), {"engine": InferenceEngine.from_checkpoint("model_final.pt")})
    before, after = (Score.from_midi(folder / name).to_dict()["tracks"] for name in ("song.mid", "filled.mid"))
    kept = [[note for note in tracks[0]["notes"] if note[0] not in (4, 5)] for tracks in (before, after)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize("page", ["docs/commands.md", "docs/generation.md"])
def test_the_commands_run_one_after_another(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "model_final.pt").rename(folder / "B")
    shutil.copy(ROOT / "tests" / "data" / "midi" / "mutopia_mozart_kv525_1.mid", folder / "song.mid")
    (folder / "my.sf2").write_bytes(soundfont())
    text = (ROOT / page).read_text(encoding="utf-8")
    commands = re.findall(r"^midigpt (generate --checkpoint B .*)$", text, re.MULTILINE)
    assert len(commands) >= 2
    for command in commands:
        assert main([*shlex.split(command, comments=True), "--set", "density_hard_limit=3", "--device", "cpu"]) == 0, (
            capsys.readouterr().err
        )
    assert len([*folder.glob("out/*/*.mid")]) >= len(commands)
