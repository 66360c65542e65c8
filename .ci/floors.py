#!/usr/bin/env python
"""Compare what `.ci/versions lowest` installed with the floors in pyproject.toml, and print what must not be raised.

.ci/floors.py versions.txt --extra server >floors.txt
"""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("versions", type=Path, help="what is installed, as pip freeze prints it")
    parser.add_argument("--extra", action="append", default=[], help="an extra whose floors are compared too")
    options = parser.parse_args(arguments)
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in options.extra:
        wanted += project["optional-dependencies"][extra]
    installed = versions(options.versions.read_text(encoding="utf-8"))
    wrong = unproven(wanted, installed)
    for line in wrong:
        print(line, file=sys.stderr)
    for name in sorted({canonicalize_name(Requirement(each).name) for each in wanted}):
        print(f"{name}=={installed[name]}")
    return int(bool(wrong))


def versions(freeze: str) -> dict[str, Version]:
    """Name -> version of the lines of ``pip freeze``."""
    lines = (line.partition("==") for line in freeze.splitlines())
    return {canonicalize_name(name): Version(version) for name, _, version in lines if version}


def unproven(wanted: list[str], installed: dict[str, Version]) -> list[str]:
    """A sentence for each requirement whose floor is not what was installed."""
    found = []
    for requirement in map(Requirement, wanted):
        floors = [Version(part.version) for part in requirement.specifier if part.operator in {">=", "=="}]
        version = installed[canonicalize_name(requirement.name)]
        if not floors or version not in floors:
            found.append(f"{requirement}: the lowest that can be installed is {version}. Name it in pyproject.toml.")
    return found


if __name__ == "__main__":
    sys.exit(main())
