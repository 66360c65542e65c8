"""Which names of Python's library only some operating systems have, by the stubs of mypy."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SYSTEMS = ("linux", "darwin", "win32")
#: Modules with some names that only some of the systems have.
PARTLY_THERE = ("mmap", "os", "select", "signal", "socket", "subprocess", "sys", "time")


def holds(test: ast.expr, system: str) -> bool | None:
    """Whether a condition of a stub holds on a system; None: it is about something else, such as a version."""
    match test:
        case ast.BoolOp(op, values):
            found = [holds(value, system) for value in values]
            decisive = isinstance(op, ast.Or)
            return decisive if decisive in found else None if None in found else not decisive
        case ast.Compare(ast.Attribute(ast.Name("sys"), "platform"), [operator], [ast.Constant(name)]):
            return (name == system) == isinstance(operator, ast.Eq)
    return None


def names(body: Sequence[ast.stmt], system: str) -> Iterator[str]:
    """The names that a stub defines for a system, in any version of Python."""
    for node in body:
        match node:
            case ast.If(test, then, otherwise):
                answer = holds(test, system)
                yield from names(then, system) if answer is not False else ()
                yield from names(otherwise, system) if answer is not True else ()
            case ast.FunctionDef(name) | ast.ClassDef(name):
                yield name
            case ast.AnnAssign(ast.Name(name)) | ast.Assign([ast.Name(name)]):
                yield name
            case ast.ImportFrom(_, aliases):
                yield from (alias.asname or alias.name for alias in aliases)


@cache
def names_by_system() -> dict[str, frozenset[str]]:
    """The names of all of :data:`PARTLY_THERE`, such as ``os.fork``, by system."""
    mypy = importlib.util.find_spec("mypy")
    assert mypy is not None
    assert mypy.origin is not None
    stubs = Path(mypy.origin).parent / "typeshed" / "stdlib"
    found: dict[str, set[str]] = {system: set() for system in SYSTEMS}
    for module in PARTLY_THERE:
        path = next(path for path in (stubs / f"{module}.pyi", stubs / module / "__init__.pyi") if path.exists())
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for system in SYSTEMS:
            found[system] |= {f"{module}.{name}" for name in names(body, system)}
    return {system: frozenset(each) for system, each in found.items()}


@cache
def not_everywhere() -> frozenset[str]:
    """The names that not all systems have."""
    sets = names_by_system().values()
    return frozenset.union(*sets) - frozenset.intersection(*sets)


def lacking(system: str) -> frozenset[str]:
    """The names that other systems have and this one lacks."""
    return frozenset.union(*names_by_system().values()) - names_by_system()[system]
