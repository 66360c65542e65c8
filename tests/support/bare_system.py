"""Runs the command line in a Python that lacks, for midigpt_core and its plugins, what Windows lacks:
``python bare_system.py WITHOUT ARGUMENTS...``; each argument ``--then`` begins another command. Without arguments it
imports every module.

Only their code is treated so: what Python's library and other packages do on this system, they go on doing. Folders
cannot be opened, and an open file can be neither renamed, replaced nor removed. Children, which are not treated so, do
without ``WITHOUT`` (MIDIGPT_WITHOUT).
"""

from __future__ import annotations

import builtins
import errno
import importlib
import os
import pkgutil
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.systems import PARTLY_THERE, lacking

OURS = ("midigpt", "midigpt_")
MISSING = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def is_ours(depth: int) -> bool:
    """Whether the calling code, ``depth`` frames above this function's caller, is the project's."""
    return str(sys._getframe(depth + 1).f_globals.get("__name__", "")).startswith(OURS)


class Bare(ModuleType):
    """A module without the names that Windows lacks."""

    def __getattribute__(self, name: str) -> Any:
        module = super().__getattribute__("__name__")
        if f"{module}.{name}" in LACKING and is_ours(1):
            raise AttributeError(f"module {module!r} has no attribute {name!r} on this system")
        return super().__getattribute__(name)


LACKING = lacking("win32")


def take_away_modules() -> None:
    original = builtins.__import__

    def bare_import(name: str, *arguments: Any, **more: Any) -> Any:
        if name in MISSING and is_ours(1):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *arguments, **more)

    builtins.__import__ = bare_import
    for name in PARTLY_THERE:
        importlib.import_module(name).__class__ = Bare


def is_open(path: str | os.PathLike[str]) -> bool:
    """Whether this process has a file open."""
    try:
        looked_for = Path(path).stat()
    except FileNotFoundError:
        return False
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if os.path.samestat(os.fstat(int(handle.name)), looked_for):
                return True
    return False


def keep_open_files() -> None:
    """Windows' rules for open files and folders."""
    of_system = {name: getattr(os, name) for name in ("open", "replace", "rename", "unlink", "remove")}

    def refuse(path: Any) -> None:
        raise PermissionError(errno.EACCES, "is open", os.fspath(path))

    def bare_open(path: Any, *arguments: Any, **more: Any) -> int:
        if Path(path).is_dir() and is_ours(1):
            refuse(path)
        return of_system["open"](path, *arguments, **more)

    def moving(name: str) -> Any:
        def move(source: Any, target: Any, **more: Any) -> None:
            for path in (source, target):
                if is_open(path):
                    refuse(path)
            # An empty folder is not replaced there.
            if Path(target).is_dir():
                refuse(target)
            of_system[name](source, target, **more)

        return move

    def removing(name: str) -> Any:
        def remove(path: Any, **more: Any) -> None:
            if not more and is_open(path):
                refuse(path)
            of_system[name](path, **more)

        return remove

    os.open = bare_open
    for name in ("replace", "rename"):
        setattr(os, name, moving(name))
    for name in ("unlink", "remove"):
        setattr(os, name, removing(name))


def import_all() -> list[str]:
    """Import every module of the core and of the plugins; returns their names."""
    import midigpt_core

    plugins = Path(__file__).resolve().parents[2] / "plugins"
    names = [module.name for module in pkgutil.walk_packages(midigpt_core.__path__, "midigpt_core.")]
    for package in sorted(path.name for path in plugins.iterdir() if (path / "__init__.py").exists()):
        names += [package, *(m.name for m in pkgutil.walk_packages([str(plugins / package)], f"{package}."))]
    for name in names:
        importlib.import_module(name)
    return names


def main(without: str, *arguments: str) -> int:
    take_away_modules()
    keep_open_files()
    from midigpt_core.cli.main import main as command
    from midigpt_core.system import capabilities

    found = set(capabilities.lacking())
    if found != set(capabilities.NAMES) - {"proc"}:  # a file, which this script does not take away
        raise AssertionError(f"these are lacking: {found}")
    os.environ[capabilities.VARIABLE] = without
    if not arguments:
        sys.stdout.write(f"{len(import_all())} modules\n")
        return 0
    rest = list(arguments)
    while rest:
        end = rest.index("--then") if "--then" in rest else len(rest)
        if code := command(rest[:end]):
            return code
        rest = rest[end + 1 :]
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
