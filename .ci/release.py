#!/usr/bin/env python
"""Make the files of a release from a tag: distributions, SBOM, notes and hashes. docs/releasing.md explains it.

.ci/release.py v0.1.0 --wheels build/wheels --out dist
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

SBOM = "sbom.cdx.json"
NOTES = "NOTES.txt"
SUMS = "SHA256SUMS"
#: Addresses that the index shows and SECURITY.md and CONTRIBUTING.md rely on. Only who publishes knows them.
ADDRESSES = ("Source", "Issues")
#: Header-only libraries whose code is compiled into the wheels, which no installed package shows.
COMPILED_IN = ("pybind11",)


class ReleaseError(Exception):
    """One sentence: what does not fit, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tag", help="the tag that is checked out: v and the version in pyproject.toml")
    parser.add_argument("--wheels", type=Path, default=Path("build/wheels"), help="finished wheels (make wheels)")
    parser.add_argument("--out", type=Path, default=Path("dist"), help="a new or empty folder for the files")
    options = parser.parse_args(arguments)
    try:
        release(Path.cwd(), options.tag, options.wheels, options.out)
    except ReleaseError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"Error: {error.cmd[0]} ended with exit code {error.returncode}; see its output above.", file=sys.stderr)
        return 2
    return 0


def release(root: Path, tag: str, wheels: Path, out: Path) -> None:
    """Write the files of the release ``tag`` to ``out``, or raise ReleaseError and leave no hashes behind."""
    name, version = project(root)
    check_tag(root, tag, version)
    check_addresses(root)
    found = check_wheels(wheels, name, version)
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise ReleaseError(f"{out} is not empty: remove it, or name another folder with --out.")
    # Of the commit, so that the same tag gives the same bytes.
    when = run(root, "git", "log", "-1", "--format=%ct").strip()
    subprocess.run(
        [sys.executable, "-m", "uv", "build", "--quiet", "--sdist", "--out-dir", str(out.resolve()), "."],
        cwd=root, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": when},
    )  # fmt: skip
    # uv keeps its folder out of git.
    (out / ".gitignore").unlink(missing_ok=True)
    for wheel in found:
        shutil.copy2(wheel, out)
    (out / NOTES).write_text(notes(root, version), encoding="utf-8")
    write_sbom(root, for_this_machine(found), out / SBOM, when)
    write_sums(out)
    print(f"{len(list(out.iterdir()))} files in {out}; check them with: cd {out} && sha256sum --check {SUMS}")


def run(root: Path, *command: str) -> str:
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def project(root: Path) -> tuple[str, str]:
    """Name and version in pyproject.toml."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table["name"], table["version"]


def check_tag(root: Path, tag: str, version: str) -> None:
    """Raise ReleaseError unless ``tag`` is the checked-out commit, unchanged, with the version that the files name."""
    if tag != f"v{version}":
        raise ReleaseError(
            f"The tag is {tag or '(none)'} but pyproject.toml has version {version}: tag the commit v{version}."
        )
    if tag not in run(root, "git", "tag", "--points-at", "HEAD").split():
        raise ReleaseError(f"The tag {tag} is not at the checked-out commit: run git checkout {tag}.")
    changed = run(root, "git", "status", "--porcelain").splitlines()
    if changed:
        raise ReleaseError(f"The tree differs from the tag, in {changed[0][3:]} first: commit or remove it.")
    notes(root, version)
    citation = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    if citation is None or citation[1] != version:
        raise ReleaseError(f"CITATION.cff does not have version {version}: correct it and tag again.")


def check_addresses(root: Path) -> None:
    """Raise ReleaseError unless pyproject.toml has the addresses of the project."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    for name in ADDRESSES:
        if not table.get(name, "").startswith("https://"):
            raise ReleaseError(
                f"pyproject.toml has no https address {name!r} in [project.urls]: add it, commit, and tag again."
            )


def notes(root: Path, version: str) -> str:
    """The section of ``version`` in CHANGELOG.md, without its heading."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(
        rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    if section is None:
        raise ReleaseError(f"CHANGELOG.md has no section '## {version} - DATE': run towncrier build, and tag again.")
    return section[1].strip() + "\n"


def check_wheels(folder: Path, name: str, version: str) -> list[Path]:
    """The wheels in ``folder``, by name. Raises ReleaseError for none, and for one of another name or version."""
    found = sorted(folder.glob("*.whl")) if folder.is_dir() else []
    if not found:
        raise ReleaseError(f"There are no wheels in {folder}: run make wheels, or name their folder with --wheels.")
    for wheel in found:
        try:
            its_name, its_version, _, tags = parse_wheel_filename(wheel.name)
        except InvalidWheelFilename as error:
            raise ReleaseError(f"{wheel} is not a wheel's name: {error}.") from None
        if (its_name, str(its_version)) != (name, version):
            raise ReleaseError(f"{wheel} is not {name} {version}: remove it, or build it again.")
        if any(tag.platform.startswith("linux_") for tag in tags):
            raise ReleaseError(f"{wheel} is not repaired, and no index takes it: build it with make wheels.")
    return found


def for_this_machine(wheels: list[Path]) -> Path:
    """The wheel that pip would install here."""
    for tag in sys_tags():
        for wheel in wheels:
            if tag in parse_wheel_filename(wheel.name)[3]:
                return wheel
    raise ReleaseError("No wheel fits this machine, so there is none to describe: add one with make wheels.")


def write_sbom(root: Path, wheel: Path, path: Path, when: str) -> None:
    """Install ``wheel`` with the tested versions into a new environment, and write what is in it as CycloneDX JSON."""
    constraints = root / "constraints.txt"
    pins = constraints.read_text(encoding="utf-8").splitlines() if constraints.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        # Without pip and setuptools, which are no part of what is installed.
        subprocess.run([sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, folder], check=True)
        python = str(Path(folder) / "bin" / "python")
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
        # torch first and pinned: constraints.txt says why.
        for wanted in [*(pin for pin in pins if pin.startswith("torch==")), str(wheel.resolve())]:
            subprocess.run([*pip, *(["--constraint", str(constraints)] if pins else []), wanted], check=True)
        subprocess.run(
            [
                sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(root / "pyproject.toml"),
                "--mc-type", "library", "--output-reproducible", "--output-format", "JSON",
                "--output-file", str(path.resolve()), python,
            ],
            check=True, env={**os.environ, "SOURCE_DATE_EPOCH": when},
        )  # fmt: skip
    add_compiled_in(path, dict(pin.split("==") for pin in pins if "==" in pin))


def add_compiled_in(path: Path, pins: dict[str, str]) -> None:
    """Add to the SBOM what is compiled into the wheel, as parts of its main component."""
    bom = json.loads(path.read_text(encoding="utf-8"))
    main_component = bom["metadata"]["component"]["bom-ref"]
    [ours] = [entry for entry in bom["dependencies"] if entry["ref"] == main_component]
    for name in COMPILED_IN:
        if name in pins:
            purl = f"pkg:pypi/{name}@{pins[name]}"
            bom.setdefault("components", []).append(
                {"bom-ref": purl, "name": name, "purl": purl, "type": "library", "version": pins[name],
                 "description": "Headers, compiled into the extension modules."}
            )  # fmt: skip
            bom["dependencies"].append({"ref": purl})
            ours["dependsOn"] = sorted([*ours.get("dependsOn", []), purl])
    path.write_text(json.dumps(bom, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_sums(folder: Path) -> None:
    """SHA256SUMS of every other file in ``folder``, in the form that ``sha256sum --check`` reads."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != SUMS
    ]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
