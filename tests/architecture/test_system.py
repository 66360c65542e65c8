"""What some systems lack is used in :mod:`midigpt_core.system` alone, where each use has a fallback."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.systems import not_everywhere

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = ROOT / "midigpt_core" / "system"
SOURCES = [
    path
    for folder in ("midigpt_core", "plugins")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if SYSTEM not in path.parents
]
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


SUSPECT = not_everywhere() | NAMES_OF_SYSTEMS


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
                    if module in NOT_EVERYWHERE or f"{module}.{alias.name}" in SUSPECT
                )
            case ast.Attribute(ast.Name(module), name):
                if f"{module}.{name}" in SUSPECT:
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
