"""docs/walk.md says what the code does: its code blocks run from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_block_of_the_walk_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "walk.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {"docs": str(DOCS)}
    for block in blocks:
        exec(compile(block, "docs/walk.md", "exec"), names)
    assert (tmp_path / "run" / "model_final.pt").is_file()
