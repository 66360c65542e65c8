"""The stubs of native modules name what the modules hold, no more and no less."""

from __future__ import annotations

import ast
import importlib
from importlib.util import find_spec
from pathlib import Path

import pytest

MODULES = ["midigpt_core._native", "midigpt_encoder._encoder", "midigpt_transformers._reader"]
# Calls that arguments, and not names, make.
_UNNAMED = {"__init__", "__buffer__", "__len__"}


def _stated(stub: Path) -> dict[str, set[str]]:
    """Functions, classes and constants of a stub, each with its methods and properties."""
    body = ast.parse(stub.read_text(encoding="utf-8")).body
    stated: dict[str, set[str]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef):
            stated[node.name] = set()
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) != "TypeAlias":
            stated[ast.unparse(node.target)] = set()
        elif isinstance(node, ast.ClassDef):
            stated[node.name] = {part.name for part in node.body if isinstance(part, ast.FunctionDef)} - _UNNAMED
    return stated


def _held(module: str) -> dict[str, set[str]]:
    loaded = importlib.import_module(module)
    held: dict[str, set[str]] = {}
    for name, value in vars(loaded).items():
        if not name.startswith("_"):
            members = vars(value) if isinstance(value, type) else {}
            held[name] = {member for member in members if not member.startswith("_")}
    return held


@pytest.mark.parametrize("module", MODULES)
def test_a_stub_states_what_its_module_holds(module: str) -> None:
    package, _, name = module.rpartition(".")
    spec = find_spec(package)
    assert spec is not None
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    (stub,) = [folder / f"{name}.pyi" for folder in folders if (folder / f"{name}.pyi").exists()]
    assert _stated(stub) == _held(module)
