"""Imports between modules, those for type checking included. The contracts in pyproject.toml hold the layers."""

from __future__ import annotations

import graphlib
import re
import tomllib
from pathlib import Path
from typing import Any

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def linter() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["importlinter"]


@pytest.fixture(scope="module")
def imports(linter: dict[str, Any]) -> dict[str, set[str]]:
    """Module -> the modules that it imports."""
    graph = grimp.build_graph(*linter["root_packages"], exclude_type_checking_imports=False, cache_dir=None)

    def names_source(importer: str, imported: str) -> bool:
        # The native module has no source in Python, and an import of it counts as one of its package.
        lines = graph.get_import_details(importer=importer, imported=imported)
        return not all("import _native" in line["line_contents"] for line in lines)

    return {
        module: {name for name in graph.find_modules_directly_imported_by(module) if names_source(module, name)}
        for module in graph.modules
    }


def test_the_graph_has_imports_of_every_sort(imports: dict[str, set[str]]) -> None:
    assert "midigpt_core.records" in imports["midigpt_core.score.score"]
    assert "midigpt_core.score" in imports["midigpt_core.contracts"], "for type checking alone"
    assert "midigpt_core.training.run" in imports["midigpt_core.cli.train"], "in a function"


def test_no_module_imports_itself_through_others(imports: dict[str, set[str]]) -> None:
    """A package counts as a module here: the contract on circles looks at siblings only."""
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" is imported by ".join(error.args[1]))


def test_the_contracts_count_imports_for_type_checking(linter: dict[str, Any]) -> None:
    assert linter["exclude_type_checking_imports"] is False
    circles = next(contract for contract in linter["contracts"] if contract["type"] == "acyclic_siblings")
    assert set(circles["ancestors"]) == set(linter["root_packages"])
    assert "ignore_imports" not in circles


def test_the_page_lists_the_layers(linter: dict[str, Any]) -> None:
    layers = next(contract["layers"] for contract in linter["contracts"] if contract["containers"] == ["midigpt_core"])
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    listed = re.search(r"Core layers, downward only: (.*?)\.\s", page, re.DOTALL)
    assert listed is not None
    assert re.findall(r"`([^`]+)`", " ".join(listed[1].split())) == layers
