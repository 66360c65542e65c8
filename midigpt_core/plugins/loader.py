"""Imports plugins one by one. A broken one is set aside with one warning line, unless it was requested.

pluggy's own ``load_setuptools_entrypoints`` silently skips a second plugin of the same name, and any import error ends
the program, even the command that would show which plugin to remove.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

from midigpt_core import hookspecs, terminal
from midigpt_core.deprecation import PluginDeprecationWarning
from midigpt_core.errors import PluginError, nearest
from midigpt_core.hookspecs import API_VERSION
from midigpt_core.plugins.discovery import wrong_api

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

    from midigpt_core.plugins.discovery import PluginEntry

_log = terminal.logger("midigpt_core.plugins")

HOOKS = frozenset(name for name in vars(hookspecs) if name.startswith("midigpt_"))


class Rejected(Exception):
    """Why a plugin cannot be used; the message reads after ``plugin 'acme' (…) is set aside: ``."""


@contextlib.contextmanager
def rejecting(when: str) -> Iterator[None]:
    """Turn any exception of a plugin's code, including ``SystemExit``, into :class:`Rejected`."""
    try:
        yield
    except (KeyboardInterrupt, Rejected):
        raise
    except SystemExit as error:
        raise Rejected(f"it called sys.exit({error.code!r}) {when}") from error
    except BaseException as error:
        raise Rejected(f"{_one_line(error)} ({when})") from error


def load(entries: Iterable[PluginEntry]) -> tuple[pluggy.PluginManager, dict[PluginEntry, str]]:
    """Import and register every active entry; returns the manager and the plugins set aside with the cause.

    Raises :class:`PluginError` if a requested plugin fails.
    """
    manager = new_manager()
    set_aside: dict[PluginEntry, str] = {}
    for entry in entries:
        if entry.status == "disabled":
            continue
        try:
            register(manager, entry)
        except Rejected as rejection:
            told = entry.status == "conflict" and str(rejection) in set_aside.values()
            set_aside[entry] = str(rejection)
            if not told:
                report(entry, rejection)
    return manager, set_aside


def new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager("midigpt_core")
    manager.add_hookspecs(hookspecs)
    return manager


def register(manager: pluggy.PluginManager, entry: PluginEntry) -> None:
    """Import one plugin and register its hooks under the entry's name; raises :class:`Rejected`."""
    if entry.status in ("conflict", "incompatible"):
        raise Rejected(entry.reason)
    module = _import(entry)
    api = getattr(module, "MIDIGPT_API", API_VERSION)
    if api != API_VERSION:
        raise Rejected(wrong_api(api))
    _check_hooks(manager, module)
    try:
        with warnings.catch_warnings(record=True) as caught:
            # By default Python hides a DeprecationWarning that is not about the program's own file.
            warnings.simplefilter("always", PluginDeprecationWarning)
            manager.register(module, entry.name)
    except (pluggy.PluginValidationError, ValueError) as error:
        raise Rejected(" ".join(str(error).split())) from error
    for warning in caught:
        if isinstance(warning.message, PluginDeprecationWarning):
            warn_deprecated(entry, warning.message)
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def warn_deprecated(entry: PluginEntry, warning: PluginDeprecationWarning) -> None:
    """Warn that a plugin uses a deprecated part of the interface."""
    _log.warning("%s: %s", entry, warning)


def implementations(manager: pluggy.PluginManager, entry: PluginEntry, hook: str) -> list[Callable[..., Any]]:
    """One plugin's implementations of a hook, to be called separately, so that a broken plugin affects only itself."""
    caller = getattr(manager.hook, hook)
    return [found.function for found in caller.get_hookimpls() if found.plugin_name == entry.name]


def report(entry: PluginEntry, rejection: Rejected) -> None:
    """Warn that a plugin is set aside; raise :class:`PluginError` if it was requested."""
    cause = str(rejection)
    cause = cause if cause.endswith((".", "?")) else f"{cause}."
    if entry.requested:
        raise PluginError(f"{entry} cannot be used: {cause} Repair it, or run without --plugin {entry.name}.") from (
            rejection.__cause__ or rejection
        )
    if entry.status == "conflict":
        _log.warning("%s", cause)
    else:
        _log.warning("%s is set aside: %s Repair or uninstall it, or pass --no-plugin %s.", entry, cause, entry.name)


def _import(entry: PluginEntry) -> ModuleType:
    if entry.folder is not None and entry.folder not in sys.path:
        sys.path.append(entry.folder)
    with rejecting("while it was imported"):
        module = importlib.import_module(entry.module)
    if entry.folder is not None and not Path(module.__file__ or "").is_relative_to(entry.folder):
        raise Rejected(f"its module name {entry.module!r} is taken by {module.__file__}")
    return module


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")


def _check_hooks(manager: pluggy.PluginManager, module: ModuleType) -> None:
    """Reject what pluggy would ignore: a hook that does not exist, a hook without its marker, a wrapper."""
    for name in sorted(vars(module)):
        options: Any = manager.parse_hookimpl_opts(module, name)
        if options is None:
            if name in HOOKS and callable(vars(module)[name]):
                raise Rejected(f"{name} is not marked with @hookimpl")
        elif (options.get("specname") or name) not in HOOKS:
            raise Rejected(f"unknown hook {name!r}.{nearest(name, HOOKS)}")
        elif options.get("wrapper") or options.get("hookwrapper"):
            raise Rejected(f"{name} is a hook wrapper, which is not supported")
