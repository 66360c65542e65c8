"""``midigpt plugins install``, ``upgrade`` and ``uninstall`` in real environments, without a network."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from midigpt_core.cli.main import main
from midigpt_core.cli.manage_plugins import requirement

PLUGIN = """
from midigpt_core import hookimpl
from midigpt_core.components import MaskSpec

MIDIGPT_API = 1


@hookimpl
def midigpt_masks():
    return [MaskSpec(name="nothing", summary="Masks nothing", target="midigpt_plugin_acme:build")]
"""

#: A project that is built without a network: its backend hands out a wheel that is there.
BACKEND = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BUILD = """
import pathlib, shutil


def build_wheel(folder, config_settings=None, metadata_directory=None):
    return pathlib.Path(shutil.copy({wheel!r}, folder)).name
"""


def wheel(folder: Path, name: str, version: str, *, entry_points: str | None = "plugins") -> Path:
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    files = {
        f"{module}.py": PLUGIN,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry_points:
        plugin = name.removeprefix("midigpt-plugin-")
        files[f"{info}/entry_points.txt"] = f"[midigpt_core.{entry_points}]\n{plugin} = {module}\n"
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    return path


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that sees the packages of this one and installs into its own folder."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    (site / "shared.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    return folder / "bin" / "python"


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels"
    folder.mkdir()
    return folder


def plugins(interpreter: Path, wheels: Path, *arguments: str, code: int = 0) -> tuple[str, str]:
    """Standard output and standard error of ``midigpt plugins …``."""
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    done = subprocess.run(
        [interpreter, "-m", "midigpt", "plugins", *arguments],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_install_upgrade_and_uninstall(environment: Path, wheels: Path) -> None:
    wheel(wheels, "midigpt-plugin-acme", "1.0")
    out, _ = plugins(environment, wheels, "install", "acme", "--yes")
    assert out.splitlines()[1].split() == ["midigpt-plugin-acme", "-", "1.0"]
    assert out.splitlines()[-1] == "plugin acme 1.0 is active"
    wheel(wheels, "midigpt-plugin-acme", "1.1")
    assert "Nothing to do" in plugins(environment, wheels, "install", "acme", "--yes")[0]
    out, _ = plugins(environment, wheels, "upgrade", "--yes")
    assert out.splitlines()[1].split() == ["midigpt-plugin-acme", "1.0", "1.1"]
    assert out.splitlines()[-1] == "plugin acme 1.1 is active"
    listed = json.loads(plugins(environment, wheels, "list", "--json")[0])
    assert [each["version"] for each in listed if each["name"] == "acme"] == ["1.1"]
    out, _ = plugins(environment, wheels, "uninstall", "acme", "-y")
    assert out.splitlines()[-1] == "Removed midigpt-plugin-acme."
    assert "acme" not in plugins(environment, wheels, "list")[0]


def test_what_is_installed_again_and_what_provides_a_command_is_named(
    environment: Path, wheels: Path, tmp_path: Path
) -> None:
    path = wheel(wheels, "midigpt-plugin-count", "1.0", entry_points="commands")
    out, _ = plugins(environment, wheels, "install", str(path), "--yes")
    assert out.splitlines()[-1] == "command midigpt count"
    out, _ = plugins(environment, wheels, "uninstall", "count", "--yes")
    assert out.splitlines()[-1] == "Removed midigpt-plugin-count."
    # A folder is installed again in the version that is there.
    folder = tmp_path / "acme"
    folder.mkdir()
    wheel(wheels, "midigpt-plugin-acme", "1.0")
    plugins(environment, wheels, "install", "acme", "--yes")
    (folder / "pyproject.toml").write_text(BACKEND)
    (folder / "backend.py").write_text(BUILD.format(wheel=str(next(wheels.glob("*acme*")))))
    out, _ = plugins(environment, wheels, "install", str(folder), "--yes")
    assert out.splitlines()[-1] == "plugin acme 1.0 is active"
    plugins(environment, wheels, "uninstall", "acme", "--yes")


def test_nothing_is_installed_unless_someone_says_yes(environment: Path, wheels: Path) -> None:
    wheel(wheels, "midigpt-plugin-acme", "1.0")
    out, error = plugins(environment, wheels, "install", "acme", code=2)
    assert "midigpt-plugin-acme" in out
    assert "Add --yes" in error
    assert "acme" not in plugins(environment, wheels, "list")[0]


def test_what_cannot_be_installed_is_one_line(environment: Path, wheels: Path) -> None:
    _, error = plugins(environment, wheels, "install", "acme", "--yes", code=2)
    assert error == "Error: the installer refuses: ERROR: No matching distribution found for midigpt-plugin-acme\n"
    path = wheel(wheels, "something-else", "1.0", entry_points=None)
    out, _ = plugins(environment, wheels, "install", str(path), "--yes")
    assert out.splitlines()[-1] == "Installed something-else, which provides nothing for midigpt."


def test_an_environment_without_pip_uses_uv(
    environment: Path, wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "bare"
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    # The packages of this environment without its pip.
    own = Path(sysconfig.get_path("purelib"))
    for entry in own.iterdir():
        if not entry.name.startswith("pip"):
            (site / entry.name).symlink_to(entry)
    monkeypatch.setenv("PATH", "")
    _, error = plugins(folder / "bin" / "python", wheels, "install", "acme", "--yes", code=2)
    assert "has neither pip nor uv" in error
    uv = Path(sysconfig.get_path("scripts")) / "uv"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").symlink_to(uv)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(wheels))
    wheel(wheels, "midigpt-plugin-acme", "1.0")
    out, _ = plugins(folder / "bin" / "python", wheels, "install", "acme", "--yes")
    assert out.splitlines()[-1] == "plugin acme 1.0 is active"
    out, _ = plugins(folder / "bin" / "python", wheels, "uninstall", "acme", "--yes")
    assert out.splitlines()[-1] == "Removed midigpt-plugin-acme."


def test_bundled_plugins_and_unknown_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, part in (
        (["uninstall", "masking"], "'masking' is part of midigpt-core"),
        (["uninstall", "maskin"], "Did you mean 'masking'?"),
        (["upgrade", "./acme-1.0-py3-none-any.whl"], "./acme-1.0-py3-none-any.whl is not the name of an installed"),
    ):
        assert main(["plugins", *arguments, "--yes"]) == 2
        assert part in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("acme", "midigpt-plugin-acme"),
        ("acme>=1", "midigpt-plugin-acme>=1"),
        ("midigpt-plugin-acme", "midigpt-plugin-acme"),
        ("midigpt_plugin_acme", "midigpt_plugin_acme"),
        ("Midigpt.Plugin.Acme==1.0", "Midigpt.Plugin.Acme==1.0"),
        ("./acme", "./acme"),
        ("acme-1.0-py3-none-any.whl", "acme-1.0-py3-none-any.whl"),
        ("git+https://example.org/acme", "git+https://example.org/acme"),
    ],
)
def test_what_the_installer_is_asked_for(name: str, asked: str) -> None:
    assert requirement(name) == asked
