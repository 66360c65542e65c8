"""What ``midigpt plugins new`` writes passes the kit as it stands, and installs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from midigpt_core.cli import main
from midigpt_core.kinds import Kind
from midigpt_core.testing import checks_of

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_passes_the_kit(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """``examples/`` is what the scaffold writes, which tests/docs/test_plugin_pages.py holds."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    project = EXAMPLES / kind
    (test,) = project.glob("tests/test_*.py")
    checks = checks_of(test.stem.removeprefix("test_").replace("_", "-"), plugin_dirs=[str(project)])
    assert len(checks) >= 8
    for check in checks:
        check()
    compile(test.read_text(encoding="utf-8"), str(test), "exec")


def test_a_fresh_distribution_is_built_installed_and_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "new", "midigpt-plugin-Fresh.Mask", "--kind", "mask", "--folder", str(tmp_path)]) == 0
    project = tmp_path / "midigpt-plugin-fresh-mask"
    assert str(project) in capsys.readouterr().out
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", site, project], check=True)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", project / "tests"],
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("9lives", "a plugin's name is a letter, then"),
        ("masking", "is the name of a bundled plugin"),
        ("taken", "exists already"),
    ],
)
def test_names_that_cannot_be_used(name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "midigpt-plugin-taken").mkdir()
    assert main(["plugins", "new", name, "--kind", "mask", "--folder", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["midigpt-plugin-taken"]
