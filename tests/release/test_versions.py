"""`.ci/versions lowest` proves the floors of the dependencies: what it installs is compared with pyproject.toml."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def floors() -> Any:
    spec = importlib.util.spec_from_file_location("floors", ROOT / ".ci" / "floors.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_floor_that_was_not_installed_is_named() -> None:
    wanted = ["attrs>=24.1", "numpy>=2.0", "PyYAML>=6.0", "types-PyYAML", "moto[s3]>=5.1"]
    freeze = "attrs==24.3.0\nnumpy==2.0.0\npyyaml==6.0\nmidigpt-core @ file:///x\ntypes-pyyaml==1\nmoto==5.1.0\n"
    module = floors()
    assert module.unproven(wanted, module.versions(freeze)) == [
        "attrs>=24.1: the lowest that can be installed is 24.3.0. Name it in pyproject.toml.",
        "types-PyYAML: the lowest that can be installed is 1. Name it in pyproject.toml.",
    ]


def test_the_command_fails_for_it(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=2"]\noptional-dependencies = {sound = ["soundfile>=0.12"]}\n'
    )
    (tmp_path / "versions.txt").write_text("numpy==2.0\nsoundfile==0.13.1\n")
    monkeypatch.chdir(tmp_path)
    assert floors().main(["versions.txt"]) == 0
    assert floors().main(["versions.txt", "--extra", "sound"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "numpy==2.0\nnumpy==2.0\nsoundfile==0.13.1\n"
    assert printed.err == ("soundfile>=0.12: the lowest that can be installed is 0.13.1. Name it in pyproject.toml.\n")


def test_the_long_run_tests_the_lowest_and_the_newest_versions() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").partition("= long ]")[2].splitlines()
    assert any(line.endswith("make versions") for line in lines)
