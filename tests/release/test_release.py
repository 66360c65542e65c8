"""`.ci/release.py` makes the files of a release from a tag, and names what does not fit."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci" / "release.py"
#: A project that builds without a package index.
FILES = {
    "pyproject.toml": (
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n\n'
        '[project]\nname = "tiny"\nversion = "1.2.0"\nlicense = "MIT"\n'
        '[project.urls]\nSource = "https://example.org/tiny"\nIssues = "https://example.org/tiny/issues"\n'
    ),
    "backend.py": (
        "import tarfile\n\ndef build_sdist(folder, config_settings=None):\n"
        "    with tarfile.open(f'{folder}/tiny-1.2.0.tar.gz', 'w:gz') as archive:\n"
        "        for name in ('pyproject.toml', 'backend.py', 'PKG-INFO'):\n"
        "            archive.add(name, f'tiny-1.2.0/{name}')\n"
        "    return 'tiny-1.2.0.tar.gz'\n"
    ),
    "PKG-INFO": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.2.0\n",
    "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.0\n",
    "CHANGELOG.md": "# Changelog\n\n## 1.2.0 - 2026-11-30\n\n- It is faster.\n\n## 1.1.0 - 2026-11-01\n\n- Older.\n",
    "constraints.txt": "# What is tested.\npybind11==3.1.0\n",
    ".gitignore": "/dist/\n/build/\n",
}


def git(folder: Path, *arguments: str) -> None:
    who = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "tag.gpgSign=false",
        "-c",
        "commit.gpgSign=false",
    ]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def write_wheel(folder: Path, name: str = "tiny-1.2.0-py3-none-any.whl") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    info = "tiny-1.2.0.dist-info"
    files = {
        "tiny.py": "",
        f"{info}/METADATA": FILES["PKG-INFO"],
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / name, "w") as archive:
        for path, text in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(path, text)


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    """A clone with a tag at its only commit, and a wheel."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "Release")
    git(folder, "tag", "v1.2.0")
    write_wheel(folder / "build" / "wheels")
    return folder


def make_release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "UV_OFFLINE": "1", "PIP_NO_INDEX": "1"}
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_tag_becomes_files_with_hashes_and_an_sbom(tagged: Path) -> None:
    done = make_release(tagged, "v1.2.0")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "5 files in dist; check them with: cd dist && sha256sum --check SHA256SUMS\n"
    dist = tagged / "dist"
    named = ["NOTES.txt", "sbom.cdx.json", "tiny-1.2.0-py3-none-any.whl", "tiny-1.2.0.tar.gz"]
    assert sorted(path.name for path in dist.iterdir()) == sorted(["SHA256SUMS", *named])
    assert (dist / "NOTES.txt").read_text(encoding="utf-8") == "- It is faster.\n"
    with tarfile.open(dist / "tiny-1.2.0.tar.gz") as source:
        assert source.getnames()[0] == "tiny-1.2.0/pyproject.toml"

    lines = (dist / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    assert lines == [f"{hashlib.sha256((dist / name).read_bytes()).hexdigest()}  {name}" for name in named]
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, check=True, capture_output=True)

    bom: dict[str, Any] = json.loads((dist / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert bom["bomFormat"] == "CycloneDX"
    assert (bom["metadata"]["component"]["name"], bom["metadata"]["component"]["type"]) == ("tiny", "library")
    assert [(part["name"], part["version"]) for part in bom["components"]] == [("pybind11", "3.1.0")]
    [ours] = [entry for entry in bom["dependencies"] if entry["ref"] == bom["metadata"]["component"]["bom-ref"]]
    assert ours["dependsOn"] == ["pkg:pypi/pybind11@3.1.0"]
    assert str(tagged) not in json.dumps(bom)

    text = (dist / "sbom.cdx.json").read_text(encoding="utf-8")
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"CycloneDX"', '"Cyclone"', 1)) is not None

    other = make_release(tagged, "v1.2.0", "--out", "build/second")
    assert other.returncode == 0
    assert (tagged / "build" / "second" / "sbom.cdx.json").read_text(encoding="utf-8") == text
    again = make_release(tagged, "v1.2.0")
    assert (again.returncode, again.stderr) == (
        2, "Error: dist is not empty: remove it, or name another folder with --out.\n",
    )  # fmt: skip


def tag_again(folder: Path) -> None:
    git(folder, "commit", "--quiet", "--all", "--amend", "--no-edit")
    git(folder, "tag", "--force", "v1.2.0")


def edit(name: str, old: str, new: str) -> Any:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        tag_again(folder)

    return change


def change_the_tree(folder: Path) -> None:
    (folder / "backend.py").write_text("", encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "tag", "message"),
    [
        (None, "1.2.0", "The tag is 1.2.0 but pyproject.toml has version 1.2.0: tag the commit v1.2.0."),
        (None, "", "The tag is (none) but pyproject.toml has version 1.2.0: tag the commit v1.2.0."),
        (lambda folder: git(folder, "tag", "-d", "v1.2.0"), "v1.2.0",
         "The tag v1.2.0 is not at the checked-out commit: run git checkout v1.2.0."),
        (change_the_tree, "v1.2.0", "The tree differs from the tag, in backend.py first: commit or remove it."),
        (edit("CHANGELOG.md", "## 1.2.0 - 2026-11-30", "## Unreleased"), "v1.2.0",
         "CHANGELOG.md has no section '## 1.2.0 - DATE': run towncrier build, and tag again."),
        (edit("CITATION.cff", "version: 1.2.0", "version: 1.1.0"), "v1.2.0",
         "CITATION.cff does not have version 1.2.0: correct it and tag again."),
        (edit("pyproject.toml", "Source =", "Home ="), "v1.2.0",
         "pyproject.toml has no https address 'Source' in [project.urls]: add it, commit, and tag again."),
        (edit("pyproject.toml", "https://example.org/tiny/issues", "example.org"), "v1.2.0",
         "pyproject.toml has no https address 'Issues' in [project.urls]: add it, commit, and tag again."),
        (lambda folder: shutil.rmtree(folder / "build"), "v1.2.0",
         "There are no wheels in build/wheels: run make wheels, or name their folder with --wheels."),
        (lambda folder: write_wheel(folder / "build/wheels", "tiny-1.1.0-py3-none-any.whl"), "v1.2.0",
         "build/wheels/tiny-1.1.0-py3-none-any.whl is not tiny 1.2.0: remove it, or build it again."),
        (lambda folder: write_wheel(folder / "build/wheels", "tiny-1.2.0-cp311-cp311-linux_x86_64.whl"), "v1.2.0",
         "build/wheels/tiny-1.2.0-cp311-cp311-linux_x86_64.whl is not repaired, and no index takes it: "
         "build it with make wheels."),
        (lambda folder: write_wheel(folder / "build/wheels", "tiny.whl"), "v1.2.0",
         "build/wheels/tiny.whl is not a wheel's name"),
    ],
    ids=["no v", "no tag", "elsewhere", "changed", "changelog", "citation", "source", "issues", "none", "old",
         "unrepaired", "name"],
)  # fmt: skip
def test_what_does_not_fit_is_named(tagged: Path, change: Any, tag: str, message: str) -> None:
    if change:
        change(tagged)
    done = make_release(tagged, tag)
    assert done.returncode == 2
    assert done.stderr.startswith(f"Error: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tagged / "dist").exists()


def test_a_failed_build_leaves_no_hashes(tagged: Path) -> None:
    edit("backend.py", "return 'tiny", "raise SystemExit('broken')  # ")(tagged)
    done = make_release(tagged, "v1.2.0")
    assert done.returncode == 2
    assert done.stderr.endswith("ended with exit code 2; see its output above.\n")
    assert not (tagged / "dist" / "SHA256SUMS").exists()


def test_this_project_has_what_a_release_needs() -> None:
    spec = importlib.util.spec_from_file_location("release", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name, _ = module.project(ROOT)
    assert name == "midigpt-core"
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert all(f"\n{compiled}==" in pins for compiled in module.COMPILED_IN)
