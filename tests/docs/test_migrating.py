"""docs/migrating.md names all that midigpt 0.4.2 offers, what it names here exists, and its blocks run."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from midigpt_core.config import TrainConfig
from midigpt_core.config.convert import convert
from midigpt_core.config.train import setting_names
from support.commands import missing_command

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
#: `tests/parity/surface.py` lists it.
SURFACE: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "surface-0.4.2.json").read_text(encoding="utf-8"))
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]
OLD = {code for row in ROWS for code in re.findall(r"`([^`]+)`", row[0])}
HERE = [code for row in ROWS for cell in row[1:] for code in re.findall(r"`([^`]+)`", cell)]
NAMES = frozenset(setting_names())
#: An option of its own tells which program a row is about.
PROGRAMS = {
    option: [sys.executable, *arguments, "--help"]
    for option, arguments in {
        "--min-bars": ("-m", "midigpt.training.preprocess"),
        "--train-data": ("-m", "midigpt.training.trainer"),
        "--port": ("-c", "import sys; from midigpt_server.command import main; sys.exit(main())"),
    }.items()
}
SETTINGS = {re.findall(r"`(.+?)`", row[0])[0]: row[1:] for row in ROWS if len(row) == 4}


def test_every_name_is_on_the_page() -> None:
    names = {name for group in ("names", "members") for listed in SURFACE[group].values() for name in listed}
    assert len(names) > 120
    assert sorted(names - OLD) == []
    assert {name for listed in SURFACE["programs"].values() for name in listed} - OLD == set()
    assert set(SURFACE["programs"]) | set(SURFACE["names"]) <= OLD
    assert set(SURFACE["request"]) <= OLD


def test_the_settings_have_the_defaults_that_the_page_says() -> None:
    assert set(SETTINGS) == set(SURFACE["settings"])
    ours = TrainConfig()
    for name, (old, here, new) in SETTINGS.items():
        assert json.loads(old.strip("`")) == SURFACE["settings"][name], name
        current = name if here.startswith("the same") else re.findall(r"`(.+?)`", here)[0]
        assert (current in NAMES and not here.startswith("none")) == bool(new), name
        if new:
            value = getattr(ours, current)
            assert json.loads(new.strip("`")) == getattr(value, "name", value), name


def test_a_file_with_every_default_is_converted_as_the_page_says() -> None:
    conversion = convert(SURFACE["settings"], NAMES)
    TrainConfig.from_mapping(conversion.values, "old.json").validate()
    for name, (_, here, _) in SETTINGS.items():
        if here.startswith("none") or name in {"max_steps", "wandb_project", "wandb_entity"}:
            assert name in conversion.left_out
        elif here.startswith("`"):
            assert conversion.renamed[name] == here.strip("`")
        else:
            assert conversion.values[name] == SURFACE["settings"][name]
    assert "no setting of this meaning" not in conversion.left_out.values()


def test_commands_and_names_here_exist() -> None:
    commands = [code.split() for code in HERE if code.startswith("midigpt ")]
    assert len(commands) >= 10
    assert [words for words in commands if missing_command(words)] == []
    names = [code for code in HERE if re.fullmatch(r"midigpt(\.\w+)+", code)]
    assert len(names) >= 8
    for name in names:
        found: Any = importlib.import_module("midigpt")
        for part in name.split(".")[1:]:
            # A submodule is an attribute once it is imported.
            if not hasattr(found, part):
                importlib.import_module(f"{found.__name__}.{part}")
            found = getattr(found, part)


@pytest.mark.parametrize("row", [row for row in ROWS if "the same" in row[1]], ids=lambda row: row[0][:40])
def test_what_is_the_same_is_the_same(row: list[str]) -> None:
    """Modules and classes of 0.4.2 that the page calls the same have the members that the row names."""
    for scope, rest in re.findall(r"`([\w.]+)`: ([^;]+)", row[0]):
        home = scope if scope.startswith("midigpt") else "midigpt.inference"
        module = importlib.import_module(home)
        owner = (
            module
            if home == scope
            else getattr(module, scope, None) or getattr(importlib.import_module("midigpt"), scope)
        )
        fields = {field.name for field in getattr(owner, "__attrs_attrs__", ())}
        for name in re.findall(r"`(\w+)`", rest):
            assert name in fields or hasattr(owner, name), f"{scope}.{name}"
    if row[0].startswith("`--"):
        options = re.findall(r"`(.+?)`", row[0])
        [program] = [command for option, command in PROGRAMS.items() if option in options]
        usage = subprocess.run(program, capture_output=True, text=True, check=True).stdout
        assert [option for option in options if option not in usage] == []
    elif row[0].split("`")[1] in SURFACE["request"]:
        from midigpt.inference import InferenceConfig

        fields = {field.name for field in InferenceConfig.__attrs_attrs__}
        assert set(re.findall(r"`(\w+)`", row[0])) <= fields


def test_the_blocks_run_from_top_to_bottom(tmp_path: Path) -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == ["json", "", "python", "", ""]
    subprocess.run(
        [sys.executable, ROOT / "docs" / "demo" / "compose.py", tmp_path / "data", "--train", "40", "--valid", "4"],
        check=True, capture_output=True,
    )  # fmt: skip
    shutil.copy(tmp_path / "data" / "song.mid", tmp_path / "song.mid")
    settings = json.loads(blocks[0][1])
    assert set(settings) <= set(SURFACE["settings"])
    tiny = {"n_embd": 16, "n_layer": 1, "n_head": 1, "warmup_steps": 1, "save_steps": 2, "eval_steps": 3}
    (tmp_path / "old.json").write_text(json.dumps(settings | tiny), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "MIDIGPT_CACHE": str(tmp_path / "cache")}
    outputs = []
    for kind, text in blocks[1:]:
        script = text.replace("max_steps=2000", "max_steps=3 --set eval_rows=2").replace("8000", port)
        command = [sys.executable, "-c", script] if kind else ["bash", "-c", f"set -e\n{script}"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        outputs.append(done.stdout + done.stderr)
    training, _, server, tokens = outputs
    assert "per_device_batch_size is now batch_size" in training
    assert "max_steps was left out: 0 stood for num_epochs" in training
    assert '"status":"ok"' in server.replace(" ", "")
    assert tokens.startswith("PieceStart")
    assert (tmp_path / "filled.mid").stat().st_size > 100
    assert (tmp_path / "again.mid").stat().st_size > 100
