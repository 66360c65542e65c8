"""Collects the checks of a plugin: one per promise, each with its own id."""

from __future__ import annotations

import inspect
from functools import partial
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from midigpt_core.errors import PluginError, unknown_name
from midigpt_core.kinds import Kind
from midigpt_core.plugins.discovery import discover
from midigpt_core.plugins.registry import load_registry
from midigpt_core.plugins.selection import Selection
from midigpt_core.testing import general

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import ModuleType

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@frozen
class Check:
    """One promise of a plugin. If it is broken, calling the check raises AssertionError or the plugin's own error."""

    id: str
    run: Callable[[], None]

    def __call__(self) -> None:
        self.run()


def checks_of(
    plugin: str,
    *,
    paths: Mapping[str, Sequence[str]] = _NOTHING,
    options: Mapping[str, Mapping[str, Any]] = _NOTHING,
    plugin_dirs: Sequence[str] = (),
) -> list[Check]:
    """The checks of a plugin, by plugin or distribution name.

    ``paths``: by component name of a data source, paths that it can read; by default a folder of ``.mid`` files.
    ``options``: by component name, options to use instead of the defaults.
    Raises :class:`midigpt_core.errors.PluginError` if the plugin cannot be loaded, or if ``paths`` or ``options`` name
    what it does not provide.
    """
    selection = Selection(plugins=(plugin,), third_parties=False, plugin_dirs=tuple(plugin_dirs))
    entry = next(entry for entry in discover(selection) if entry.requested)
    registry = load_registry(selection)
    checks = [
        Check(f"{entry.name}-{_words(name)}", partial(check, entry)) for name, check in _checks(general, "plugin_")
    ]
    provided = [item for kind in Kind for item in registry.provided(kind) if item.plugin.name == entry.name]
    for argument, given, names in (
        ("paths", paths, [item.spec.name for item in provided if item.spec.kind is Kind.SOURCE]),
        ("options", options, [item.spec.name for item in provided]),
    ):
        if strange := next((name for name in given if name not in names), None):
            what = "data source" if argument == "paths" else "component"
            raise PluginError(f"{argument}: plugin {entry.name!r}: {unknown_name(what, strange, names)}")
    refs = [item.ref(options.get(item.spec.name, {})) for item in provided]
    checks.append(Check(f"{entry.name}-references-survive-spawn", partial(general.references_survive_spawn, refs)))
    for item, ref in zip(provided, refs, strict=True):
        subject = general.Subject(item.spec, ref, registry, tuple(paths.get(item.spec.name, ())))
        prefix = f"{item.spec.kind}-{item.spec.name}"
        # Imported when needed: the checks of a mask do not need torch.
        of_kind = import_module(f"midigpt_core.testing.{item.spec.kind.setting}s")
        for name, check in [*_checks(general, "component_"), *_checks(of_kind, "check_")]:
            checks.append(Check(f"{prefix}-{_words(name)}", partial(check, subject)))
    return checks


def parametrize_with_checks(plugin: str, **settings: Any) -> pytest.MarkDecorator:
    """Parametrise a test with the argument ``check`` by every check of a plugin. Arguments as for :func:`checks_of`."""
    checks = checks_of(plugin, **settings)
    return pytest.mark.parametrize("check", [pytest.param(check, id=check.id) for check in checks])


def _checks(module: ModuleType, prefix: str) -> list[tuple[str, Callable[[Any], None]]]:
    """The functions of a module whose names begin with ``prefix``, in the order of the source."""
    functions = inspect.getmembers(module, inspect.isfunction)
    chosen = [(name, function) for name, function in functions if name.startswith(prefix)]
    chosen.sort(key=lambda item: item[1].__code__.co_firstlineno)
    return [(name.removeprefix(prefix), function) for name, function in chosen]


def _words(name: str) -> str:
    return name.replace("_", "-")
