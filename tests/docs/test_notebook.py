"""examples/quickstart.ipynb runs from top to bottom, and has the outputs of a whole run."""

from __future__ import annotations

import base64
import re
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from nbclient import NotebookClient

from midigpt_core.score import Score
from support.soundfont import soundfont

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / "examples" / "quickstart.ipynb"
NOTEBOOK: Any = nbformat.read(PATH, as_version=4)


def outputs(notebook: Any, cell: str) -> dict[str, str]:
    """The content of a cell's outputs by MIME type; text that the cell printed is under ``text``."""
    (found,) = (one for one in notebook.cells if one.id == cell)
    joined: dict[str, str] = {}
    for output in found.outputs:
        assert output.output_type != "error"
        for kind, text in output.get("data", {"text": output.get("text", "")}).items():
            joined[kind] = joined.get(kind, "") + text
    return joined


def check(notebook: Any) -> None:
    nbformat.validate(notebook)
    for cell in ("helpers", "fill", "curve"):
        assert base64.b64decode(outputs(notebook, cell)["image/png"]).startswith(b"\x89PNG"), cell
    for cell in ("listen", "listen-filled"):
        (sound,) = re.findall(r"data:audio/[\w-]+;base64,([\w+/=]+)", outputs(notebook, cell)["text/html"])
        assert base64.b64decode(sound).startswith(b"OggS"), cell
    # The pictures before and after differ.
    assert outputs(notebook, "helpers")["image/png"] != outputs(notebook, "fill")["image/png"]


def test_it_was_run_whole_before_it_was_committed() -> None:
    check(NOTEBOOK)
    assert PATH.stat().st_size < 1_000_000
    code = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [*range(1, len(code) + 1)]
    trained = outputs(NOTEBOOK, "train")["text/plain"]
    assert "step 800/800" in trained
    (loss,) = re.findall(r"evaluation loss (\d\.\d+)", trained)
    # The first step's loss is above 6.
    assert float(loss) < 1
    # No folder of the machine that ran it.
    assert not re.search(r'["\s(](/home|/root|/tmp|/work|/Users)/', PATH.read_text(encoding="utf-8"))


def test_it_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few pieces and three steps, in a kernel of its own."""
    notebook = deepcopy(NOTEBOOK)
    (parameters,) = (cell for cell in notebook.cells if cell.metadata.get("tags") == ["parameters"])
    for old, new in (
        ('Path("../runs/quickstart")', f"Path({str(tmp_path / 'run')!r})"),
        ("PIECES = 2000", "PIECES = 60"),
        ("STEPS = 800", "STEPS = 3"),
    ):
        assert old in parameters.source
        parameters.source = parameters.source.replace(old, new)
    (tmp_path / "bank.sf2").write_bytes(soundfont())
    monkeypatch.setenv("MIDIGPT_SOUNDFONT", str(tmp_path / "bank.sf2"))
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    place = {"metadata": {"path": str(PATH.parent)}}
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources=place).execute()
    check(notebook)
    assert "step 3/3" in outputs(notebook, "train")["text/plain"]
    before, after = (Score.from_midi(tmp_path / "run" / name).to_dict() for name in ("data/song.mid", "filled.mid"))
    changed = [
        number for number, (old, new) in enumerate(zip(before["tracks"], after["tracks"], strict=True)) if old != new
    ]
    assert changed == [0]
