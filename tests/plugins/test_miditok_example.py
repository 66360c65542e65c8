"""The example around MidiTok's REMI: it passes the kit, is as short as its README says, trains and fills in."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from midigpt_core.cli import main
from midigpt_core.contracts import EncoderContext
from midigpt_core.encoding.encode_one import encode_part, part_of
from midigpt_core.plugins import Selection, build, load_registry
from midigpt_core.score import Score
from midigpt_core.testing import checks_of, music

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "miditok"
MIDI = Path(__file__).resolve().parents[1] / "data" / "midi"
MOST_LINES = 120


@pytest.fixture(autouse=True)
def _search_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def encoder() -> Any:
    registry = load_registry(Selection(plugin_dirs=(str(EXAMPLE),)))
    return build(registry.resolve("encoder", "remi"), EncoderContext())


def test_it_passes_the_kit() -> None:
    checks = checks_of("remi", plugin_dirs=[str(EXAMPLE)])
    assert len(checks) > 20
    for check in checks:
        check()


def test_it_is_as_short_as_its_readme_says() -> None:
    lines = (EXAMPLE / "midigpt_plugin_remi" / "encoder.py").read_text(encoding="utf-8").splitlines()
    (said,) = re.findall(r"encoder\.py` \((\d+) lines\)", (EXAMPLE / "README.md").read_text(encoding="utf-8"))
    assert int(said) == len(lines) <= MOST_LINES


def test_a_document_is_what_miditok_writes(encoder: Any) -> None:
    """One track in one time signature from the first bar on: MidiTok's tokens of the whole track, and our end of it."""
    score = Score.from_midi(MIDI / "groove_funk_92.mid")
    part = part_of(score, bars=(0, 7), tracks=[0])
    tokens = encode_part(encoder, score, part)
    names = ["_".join(encoder.words[token]) for token in tokens.tolist()]
    notes = sum(len(bar.notes) for bar in score.tracks[0].bars[:8])
    assert names[0].startswith("Program_")
    assert names[-1] == "EOS_None"
    assert names.count("Bar_None") == 8
    assert sum(name.startswith("Pitch_") for name in names) == notes
    decoded = encoder.decode(tokens)
    before = [bar.notes.pitch.tolist() for bar in score.tracks[0].bars[:8]]
    assert [sorted(bar.notes.pitch.tolist()) for bar in decoded.tracks[0].bars] == [sorted(of) for of in before]


def test_it_trains_and_fills_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    for number, score in enumerate(music.scores()):
        score.to_midi(tmp_path / "songs" / f"{number}.mid")
    tiny = {"n_embd": 16, "n_layer": 1, "n_head": 1, "batch_size": 2, "max_steps": 2, "warmup_steps": 1}
    (tmp_path / "tiny.json").write_text(json.dumps(tiny | {"source": "midifiles", "encoder": "remi"}))
    plugins = ["--plugins-dir", str(EXAMPLE)]
    paths = ["--config", str(tmp_path / "tiny.json"), "--train-data", str(tmp_path / "songs")]
    assert main([*plugins, "train", *paths, "--output-dir", str(tmp_path / "run")]) == 0
    song = tmp_path / "songs" / "0.mid"
    bundle = str(tmp_path / "run" / "model_final.pt")
    asked = ["--checkpoint", bundle, "--input", str(song), "--track", "1", "--bars", "2-3", "--seed", "1"]
    for mode in ([], ["--autoregressive"]):
        out = tmp_path / f"out{len(mode)}"
        assert main([*plugins, "generate", *asked, *mode, "--set", "density_hard_limit=3", "-o", str(out)]) == 0
        before, after = Score.from_midi(song), Score.from_midi(out / "0-1.mid")
        for track, (ours, theirs) in enumerate(zip(before.tracks, after.tracks, strict=True)):
            for bar in range(music.BARS):
                rows = [list(view.bars[bar].notes.rows()) for view in (ours, theirs)]
                if track == 1 and bar in (2, 3):
                    assert 0 < len(rows[1]) <= 3
                else:
                    assert np.array_equal(rows[0], rows[1])
    capsys.readouterr()
