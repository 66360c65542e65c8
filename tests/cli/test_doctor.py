"""``midigpt doctor``: what is found, and what to do about problems."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core.cli.main import main
from midigpt_core.system.capabilities import without

if TYPE_CHECKING:
    from collections.abc import Callable

BROKEN = "MIDIGPT_API = 1\nimport no_such_module\n"


@pytest.fixture
def diagnose(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[dict[str, Any]]]]:
    def run(*arguments: str) -> tuple[int, list[dict[str, Any]]]:
        code = main(["doctor", "--json", *arguments])
        return code, json.loads(capsys.readouterr().out)

    return run


def one(found: list[dict[str, Any]], about: str) -> dict[str, Any]:
    (line,) = [each for each in found if each["about"] == about]
    return line


def test_a_sound_installation(
    diagnose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").write_bytes(bytes(3 << 20))
    code, found = diagnose()
    assert (code, [each for each in found if each["status"] == "problem"]) == (0, [])
    assert one(found, "torch")["text"] == importlib.metadata.version("torch")
    assert one(found, "cache")["text"].startswith(f"{tmp_path / 'cache'}: 3 MiB in it, ")
    assert one(found, "system")["status"] == "ok"
    with without("memfd", "proc"):
        line = one(diagnose()[1], "system")
    assert (line["status"], "does without memfd, proc:" in line["text"]) == ("note", True)
    assert "gigamidi" in one(found, "plugins")["text"]
    assert one(found, "presets") == {"about": "presets", "status": "ok", "text": "expressive, ghost, prism, yellow"}
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["about", "status"]


def test_a_broken_plugin_and_a_cache_that_cannot_be_written(
    diagnose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.setenv("MIDIGPT_CACHE", "/proc/cache")
    code, found = diagnose("--plugins-dir", str(tmp_path))
    assert code == 1
    assert one(found, "cache")["status"] == one(found, "plugins")["status"] == "problem"
    assert "MIDIGPT_CACHE" in one(found, "cache")["text"]
    assert "No module named 'no_such_module'" in one(found, "plugins")["text"]
    assert one(found, "presets")["status"] == "ok"
    assert not Path("/proc/cache").exists()


def test_little_space_and_a_busy_machine(
    diagnose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 << 20))
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    code, found = diagnose()
    assert code == 1
    assert "only 100 MiB free. 'midigpt corpus clean'" in one(found, "cache")["text"]
    assert one(found, "threads")["status"] == "note"


def test_the_login_of_the_hub(diagnose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    assert "hf auth login" in one(diagnose()[1], "Hugging Face Hub")["text"]
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    line = one(diagnose()[1], "Hugging Face Hub")
    assert line["status"] == "ok"
    assert "secret" not in line["text"]


def test_a_login_that_cannot_be_read_and_a_library_that_is_missing(
    diagnose: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIDIGPT_CACHE", str(tmp_path))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "token").mkdir()
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    code, found = diagnose()
    line = one(found, "Hugging Face Hub")
    assert (code, line["status"]) == (1, "problem")
    assert str(tmp_path / "token") in line["text"]
    assert "hf auth login" in line["text"]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    code, found = diagnose()
    assert (code, one(found, "Hugging Face Hub")["status"]) == (1, "problem")
    assert one(found, "sound")
