"""The distributions of ``examples/`` in a folder, as an installer leaves them: packages and their metadata."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def install_examples(folder: Path) -> list[str]:
    """Put every example into ``folder``, which then goes on the search path of an interpreter; returns their names."""
    shutil.rmtree(folder, ignore_errors=True)
    names = []
    for path in sorted(EXAMPLES.glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        stem = f"{project['name'].replace('-', '_')}-{project['version']}"
        info = folder / f"{stem}.dist-info"
        info.mkdir(parents=True)
        head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        (info / "METADATA").write_text(head, encoding="utf-8")
        groups = [
            f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in points.items())
            for group, points in project.get("entry-points", {}).items()
        ]
        (info / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
        for package in path.parent.glob("midigpt_plugin_*"):
            shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        names.append(project["name"])
    return names
