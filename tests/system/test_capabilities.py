"""Capabilities: which there are, doing without them, and what the page says of each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from midigpt_core.cli.main import main
from midigpt_core.system import capabilities
from midigpt_core.system.capabilities import NAMES, VARIABLE, has, lacking, without

PAGE = Path(__file__).resolve().parents[2] / "docs" / "systems.md"


@pytest.fixture(autouse=True)
def nothing_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(capabilities, "_without", frozenset())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems lack some")
def test_linux_lacks_none() -> None:
    assert lacking() == ()


@pytest.mark.parametrize("name", NAMES)
def test_inside_a_process_and_its_children_do_without(name: str) -> None:
    code = "from midigpt_core.system.capabilities import lacking; print(*lacking())"
    with without(name):
        assert not has(name)
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        with without("all"):
            assert lacking() == NAMES
        assert name in lacking()
    assert done.stdout.split() == [name]
    assert VARIABLE not in os.environ
    assert has(name)


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no capabilities: floc"), without("floc"):
        pass
    monkeypatch.setattr(capabilities, "_without", capabilities._asked(" flock, floc,"))
    assert capabilities.unknown() == ("floc",)
    assert main(["version"]) == 2
    assert "MIDIGPT_WITHOUT: there is no capability 'floc'. Name some of flock, folders," in capsys.readouterr().err


def test_the_page_has_a_row_for_each() -> None:
    assert re.findall(r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE) == list(NAMES)
