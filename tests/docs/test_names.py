"""Names that docstrings mention exist: a role such as ``:class:`` leads somewhere, in the hooks any name does."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from midigpt_core import components, contracts, errors, hookspecs, records
from midigpt_core.cli.new_plugin import CALLBACK, COMMAND, distribution
from midigpt_core.encoding import window_encoder
from midigpt_core.kinds import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
ROLE = re.compile(r":(?:class|meth|func|mod|data|attr|exc):`~?(?P<name>[\w.]+)`")
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: Classes in CamelCase that a docstring writes without a role.
CLASS = re.compile(r"(?<![\w.`:])(?P<name>(?:[A-Z][a-z]+){2,})(?![\w(])|``(?P<code>(?:[A-Z][a-z]+){2,})``")


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the core and of the bundled plugins: its name and its file."""
    for root in (ROOT, ROOT / "plugins"):
        for package in sorted(root.glob("midigpt*")):
            for path in sorted(package.rglob("*.py")):
                yield ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"), path


@cache
def exists(name: str) -> bool:
    """Whether a dotted name is a module, or something in one: an attribute, or a field with an annotation."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", {}) and part == parts[-1]
            found = getattr(found, part)
        return True
    return False


def unknown(module: str, text: str) -> list[str]:
    """The names in roles of a module's source that are neither whole, nor in the module or one of its classes."""
    tree = ast.parse(text)
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0]: alias.name.partition(".")[0] for alias in node.names}
    homes = [module, *(f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.ClassDef))]
    missing = []
    for match in ROLE.finditer(text):
        name = match["name"]
        head, _, rest = name.partition(".")
        whole = [name, *([f"{imported[head]}.{rest}".rstrip(".")] if head in imported else [])]
        if not any(exists(candidate) for candidate in [*whole, *(f"{home}.{name}" for home in homes)]):
            missing.append(name)
    return missing


def test_every_name_in_a_role_exists() -> None:
    found = {module: path.read_text(encoding="utf-8") for module, path in modules()}
    assert sum(len(ROLE.findall(text)) for text in found.values()) > 350
    missing = {module: names for module, text in found.items() if (names := unknown(module, text))}
    assert not missing


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("'''See :class:`midigpt_core.contracts.WindowEncoder`.'''", ["midigpt_core.contracts.WindowEncoder"]),
        ("'''See :meth:`Encoder.decode`.'''\nfrom midigpt_core.contracts import Encoder", []),
        ("'''See :meth:`Encoder.undo`.'''\nfrom midigpt_core.contracts import Encoder", ["Encoder.undo"]),
        ("'''See :meth:`Encoder.decode`.'''", ["Encoder.decode"]),
        ("'''See :attr:`~midigpt_core.records.WindowBatch.masked`.'''", []),
    ],
)
def test_what_does_not_exist_is_found(text: str, names: list[str]) -> None:
    assert unknown("midigpt_core", text) == names


def written_for_authors() -> Iterator[tuple[str, str]]:
    """The code that authors of plugins copy: what the scaffold writes, the examples, and blocks of pages."""
    for kind in [*Kind, COMMAND, CALLBACK]:
        for path, text in distribution("acme", kind).items():
            if path.endswith(".py"):
                yield f"{kind}: {path}", text
    for path in sorted((ROOT / "examples").rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, block in enumerate(BLOCK.findall(path.read_text(encoding="utf-8"))):
            if "import" in block:
                yield f"{path.relative_to(ROOT)}, block {number}", block


def imported_from_elsewhere(text: str) -> Iterator[str]:
    """Names that are imported from a module of midigpt-core which neither defines nor exports them."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("midigpt_core"):
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                if alias.name not in getattr(module, "__all__", ()) and not exists(f"{node.module}.{alias.name}"):
                    yield f"{node.module}.{alias.name}"
                    continue
                found = getattr(module, alias.name)
                home = getattr(found, "__module__", node.module) if callable(found) else node.module
                if home != node.module and alias.name not in getattr(module, "__all__", ()):
                    yield f"{node.module}.{alias.name}, which is {home}.{alias.name}"


def test_authors_import_names_from_where_they_are_defined() -> None:
    found = dict(written_for_authors())
    assert len(found) > 60
    elsewhere = {where: names for where, text in found.items() if (names := list(imported_from_elsewhere(text)))}
    assert not elsewhere


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from midigpt_core.contracts import TokenStatus", 1),
        ("from midigpt_core.contracts import WindowEncoder", 1),
        ("from midigpt_core.records import TokenStatus", 0),
        ("from midigpt_core.plugins import Selection", 0),
    ],
)
def test_an_import_from_elsewhere_is_found(text: str, names: int) -> None:
    assert len(list(imported_from_elsewhere(text))) == names


@pytest.mark.parametrize("hook", [name for name in vars(hookspecs) if name.startswith("midigpt_")])
def test_every_class_that_a_hook_mentions_exists(hook: str) -> None:
    """Without a role too: those of its example, and of the factory's arguments."""
    text = inspect.getdoc(getattr(hookspecs, hook)) or ""
    known = {name for module in (components, contracts, records, errors, window_encoder) for name in vars(module)}
    names = {match["name"] or match["code"] for match in CLASS.finditer(ROLE.sub("", text))}
    names |= set(re.findall(r"\b([A-Z]\w+(?:Spec|Context|Error))\b", text))
    assert len(names) >= (1 if hook == "midigpt_callbacks" else 2)
    assert names <= known | {"NumPy"}
