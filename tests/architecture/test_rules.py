"""The rules of docs/architecture.md that no linter knows; layers and plugin independence are import-linter's."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "midigpt_core"
PLUGINS = ROOT / "plugins"
SOURCES = sorted([*CORE.rglob("*.py"), *PLUGINS.rglob("*.py")])
NATIVE = sorted(path for suffix in ("*.cpp", "*.h") for path in (ROOT / "csrc").rglob(suffix))

#: The outermost frames and the plugin loader, where anything a plugin raises must be caught: docs/architecture.md,
#: rule 5.
BROAD_EXCEPT = {
    "midigpt_core/plugins/loader.py",
    "midigpt_core/cli/main.py",
    "midigpt_core/training/reporting/samples.py",
    # It hands the error to the thread that asks for the file.
    "plugins/midigpt_gigamidi/hub/shards.py",
    # It hands the error to the thread that requested the step.
    "midigpt_core/inference/batching.py",
}
#: Where `torch.load` stands: one place, for a run's own checkpoints, weights only. Bundles are read without it.
TORCH_LOAD = "midigpt_core/training/keeping/checkpoints.py"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in SOURCES:
        yield relative(path), ast.parse(path.read_text(encoding="utf-8"))


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_the_rules_see_the_code() -> None:
    assert len(SOURCES) > 40
    assert len(NATIVE) > 10


def test_broad_excepts_stand_only_in_the_loader_and_the_outermost_frame() -> None:
    found = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        # A handler that ends in a bare `raise` or raises from the caught one swallows nothing.
        and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
    }
    assert found <= BROAD_EXCEPT


def test_no_global_random_generator() -> None:
    pattern = re.compile(r"(random|np\.random|numpy\.random)\.(?!Random\b|Generator\b|Philox\b)\w+")
    found = {(name, call) for name, tree in trees() for call, _ in calls(tree) if pattern.fullmatch(call)}
    assert not found


def test_torch_load_stands_in_one_place_with_weights_only() -> None:
    loads = [(name, node) for name, tree in trees() for call, node in calls(tree) if call == "torch.load"]
    assert [name for name, _ in loads] == [TORCH_LOAD]
    keywords = {keyword.arg: ast.unparse(keyword.value) for _, node in loads for keyword in node.keywords}
    assert keywords["weights_only"] == "True"


def test_only_the_legacy_plugin_may_run_torchscript() -> None:
    names = {name for name, tree in trees() for call, _ in calls(tree) if call.startswith("torch.jit.")}
    assert all(name.startswith("plugins/midigpt_legacy/") for name in names)


def test_library_code_does_not_print() -> None:
    assert not {name for name, tree in trees() for call, _ in calls(tree) if call == "print"}


def functions_that_import(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(
            isinstance(inner, (ast.Import, ast.ImportFrom)) for inner in ast.walk(node)
        ):
            yield node.name


def test_only_commands_import_inside_functions() -> None:
    """So that ``midigpt --help`` loads nothing heavy; packages do the same by :mod:`midigpt_core.lazy`."""
    found = [
        (name, function)
        for name, tree in trees()
        for function in functions_that_import(tree)
        if not name.startswith(("midigpt_core/cli/", "plugins/midigpt_server/command.py"))
    ]
    assert found == []


def test_names_are_lazy_in_one_way_and_type_checkers_see_each() -> None:
    homes = {name: tree for name, tree in trees() if any(call == "lazy_names" for call, _ in calls(tree))}
    assert len(homes) > 4
    for tree in homes.values():
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
        exported = next(
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        )
        assert imported >= set(exported)
    # A class may have one of its own: that gives attributes, not a module's names.
    defined = [
        name
        for name, tree in trees()
        for parent in ast.walk(tree)
        if not isinstance(parent, ast.ClassDef)
        for node in ast.iter_child_nodes(parent)
        if isinstance(node, ast.FunctionDef) and node.name == "__getattr__"
    ]
    assert defined == ["midigpt_core/lazy.py"]


def test_commands_import_by_statement() -> None:
    """A name in a string is hidden from the type checker, the import contracts and editors."""
    found = [
        (name, call)
        for name, tree in trees()
        if name.startswith("midigpt_core/cli/")
        for call, _ in calls(tree)
        if call.rpartition(".")[2] in {"import_module", "__import__", "later"}
    ]
    assert found == []


@pytest.mark.parametrize("forbidden", ["<iostream>", "<ranges>", "<format>", "abort(", "std::exit", "printf("])
def test_native_code_neither_prints_nor_aborts(forbidden: str) -> None:
    found = [relative(path) for path in NATIVE if forbidden in path.read_text(encoding="utf-8")]
    assert found == []


def test_only_the_bindings_see_python() -> None:
    found = [
        relative(path)
        for path in NATIVE
        if re.search(r"#include\s*<(Python\.h|pybind11/)", path.read_text(encoding="utf-8"))
        and "/bindings/" not in path.as_posix()
    ]
    assert found == []


def test_native_threads_are_started_in_one_place() -> None:
    starts = re.compile(r"\bstd::(thread|jthread|async)\b|\bpthread_create\b")
    found = {path.parent.name for path in NATIVE if starts.search(path.read_text(encoding="utf-8"))}
    assert found == {"threads"}


@pytest.mark.parametrize("folder", ["midi", "threads", "vocab"])
def test_the_lowest_native_folders_include_nothing_of_ours(folder: str) -> None:
    own = re.compile(r'#include\s*"(?!' + folder + r"/)([^\"]+)\"")
    found = {
        (relative(path), include)
        for path in NATIVE
        if path.parent.name == folder
        for include in own.findall(path.read_text(encoding="utf-8"))
        if "/" in include
    }
    assert found == set()


def test_pieces_are_located_in_one_place() -> None:
    found = [
        name
        for name, tree in trees()
        for call, node in calls(tree)
        if call.endswith("searchsorted") and "piece_offsets" in ast.unparse(node)
    ]
    assert found == ["midigpt_core/records.py"]


def test_plain_windows_are_made_in_one_place() -> None:
    found = [name for name, tree in trees() for call, _ in calls(tree) if call == "WindowBatch"]
    assert found == ["midigpt_core/score/windows.py"]
