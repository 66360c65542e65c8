"""What some systems lack is used in :mod:`midigpt_core.system` alone, where each use has a fallback."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = ROOT / "midigpt_core" / "system"
SOURCES = [
    path
    for folder in ("midigpt_core", "plugins")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if SYSTEM not in path.parents
]
SYSTEMS = ("linux", "darwin", "win32")
#: Modules with some names that only some of the systems have. The names come from the stubs of mypy.
PARTLY_THERE = ("mmap", "os", "select", "signal", "socket", "subprocess", "sys", "time")
#: Modules that only some of the systems have.
NOT_EVERYWHERE = {
    *("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"),
    *("_winapi", "msvcrt", "nt", "winreg", "winsound"),
}
#: By which a program asks for the system's name, or for a library of the system, instead of what it can do.
NAMES_OF_SYSTEMS = {"sys.platform", "os.name", "os.uname", "platform.system", "ctypes.CDLL", "ctypes.windll"}
#: Arguments of ``subprocess.Popen`` that only some systems have.
ARGUMENTS = {"pass_fds", "preexec_fn", "start_new_session", "process_group", "creationflags", "startupinfo", "umask"}
#: Folders of one system.
FOLDERS = ("/proc", "/sys/", "/dev/")


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
def not_everywhere() -> frozenset[str]:
    mypy = importlib.util.find_spec("mypy")
    assert mypy is not None
    assert mypy.origin is not None
    stubs = Path(mypy.origin).parent / "typeshed" / "stdlib"
    found: set[str] = set()
    for module in PARTLY_THERE:
        path = next(path for path in (stubs / f"{module}.pyi", stubs / module / "__init__.pyi") if path.exists())
        body = ast.parse(path.read_text(encoding="utf-8")).body
        of_systems = [{*names(body, system)} for system in SYSTEMS]
        found |= {f"{module}.{name}" for name in set.union(*of_systems) - set.intersection(*of_systems)}
    return frozenset(found)


def uses(tree: ast.AST) -> Iterator[str]:
    """What a module uses that some systems lack."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(aliases):
                yield from (alias.name for alias in aliases if alias.name in NOT_EVERYWHERE)
            case ast.ImportFrom(module, aliases):
                yield from (
                    f"{module}.{alias.name}"
                    for alias in aliases
                    if module in NOT_EVERYWHERE or f"{module}.{alias.name}" in not_everywhere() | NAMES_OF_SYSTEMS
                )
            case ast.Attribute(ast.Name(module), name):
                if f"{module}.{name}" in not_everywhere() | NAMES_OF_SYSTEMS:
                    yield f"{module}.{name}"
            case ast.keyword(str(name)):
                if name in ARGUMENTS:
                    yield name
            case ast.Constant(str(text)):
                if text.startswith(FOLDERS) and " " not in text:
                    yield text


def test_the_stubs_say_what_is_not_everywhere() -> None:
    some = ["os.fork", "os.killpg", "os.memfd_create", "os.sched_getaffinity", "os.pread", "os.startfile"]
    more = ["signal.SIGHUP", "signal.SIGBUS", "signal.CTRL_C_EVENT", "signal.setitimer", "socket.AF_UNIX"]
    assert {*some, *more} <= not_everywhere()
    everywhere = {"os.open", "os.fsync", "os.getpid", "os.kill", "signal.SIGINT", "signal.SIGTERM", "signal.signal"}
    assert not everywhere & not_everywhere()


def test_what_some_systems_lack_is_used_in_one_package() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), use)
        for path in SOURCES
        for use in uses(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("import fcntl", ["fcntl"]),
        ("from resource import getrlimit", ["resource.getrlimit"]),
        ("import os\nos.fork()", ["os.fork"]),
        ("from os import killpg as end", ["os.killpg"]),
        ("signal.signal(signal.SIGHUP, signal.SIG_IGN)", ["signal.SIGHUP"]),
        ("subprocess.Popen(command, pass_fds=[3])", ["pass_fds"]),
        ("open('/proc/self/statm')", ["/proc/self/statm"]),
        ("if sys.platform == 'linux': pass", ["sys.platform"]),
        ("signal.signal(signal.SIGINT, stop)\nos.replace(a, b)\nfork()", []),
    ],
)
def test_such_a_use_is_seen(code: str, expected: list[str]) -> None:
    assert list(uses(ast.parse(code))) == expected
