"""Finds plugins from metadata alone: nothing here imports a plugin."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from midigpt_core.config.wording import spell
from midigpt_core.errors import PluginError, nearest
from midigpt_core.files import read_bytes
from midigpt_core.hookspecs import API_VERSION
from midigpt_core.paths import usable_path
from midigpt_core.plugins.names import CORE_DISTRIBUTION, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from importlib.machinery import ModuleSpec

    from midigpt_core.plugins.selection import Selection

ENTRY_POINT_GROUP = "midigpt_core.plugins"

_API_LINE = re.compile(r"^MIDIGPT_API\b[^=\n]*=\s*(\d+)", re.MULTILINE)
_PREFIX = "midigpt-plugin-"
#: Limits of a plugin module's source, and of the digits of its API number.
_MOST_SOURCE_BYTES = 16 << 20
_MOST_DIGITS = 18


@frozen(kw_only=True)
class PluginEntry:
    """A plugin that was found, and its status."""

    name: str
    #: The module that contains its hooks.
    module: str
    #: Distribution and version; for a plugin of ``--plugins-dir`` its file and an empty version.
    distribution: str
    version: str
    #: The ``--plugins-dir`` folder it was found in.
    folder: str | None = None
    #: ``active``, ``local`` (active, from ``--plugins-dir``), ``disabled``, ``conflict`` or ``incompatible``.
    status: str = "active"
    #: Why it is not active.
    reason: str = ""
    #: Whether it was requested by name, so that a failure is fatal.
    requested: bool = False

    @property
    def is_bundled(self) -> bool:
        return self.distribution == CORE_DISTRIBUTION

    @property
    def is_active(self) -> bool:
        return self.status in ("active", "local")

    @property
    def origin(self) -> str:
        """``midigpt-plugin-acme 0.3``, or the file of a local plugin."""
        return f"{self.distribution} {self.version}".rstrip()

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.origin})"

    def answers_to(self, name: str) -> bool:
        return normalise(name) in (normalise(self.name), normalise(self.distribution))


def discover(selection: Selection) -> tuple[PluginEntry, ...]:
    """Find every plugin: bundled ones, then third parties by name, then plugins in ``selection.plugin_dirs``.

    Raises :class:`PluginError` if the selection names a plugin that does not exist or is ambiguous.
    """
    found = [*_installed(), *_local(selection.plugin_dirs)]
    disabled = [entry for name in selection.disabled for entry in _named(found, name, "--no-plugin")]
    requested = _requested([entry for entry in found if entry not in disabled], found, selection)
    entries = []
    for entry in found:
        if entry in requested:
            entry = evolve(entry, requested=True)
        elif entry in disabled:
            entry = evolve(entry, status="disabled", reason="--no-plugin")
        elif not (selection.third_parties or entry.is_bundled):
            entry = evolve(entry, status="disabled", reason="--no-plugins")
        entries.append(entry)
    return tuple(_mark_incompatible(_mark_conflicts(entries)))


def _installed() -> list[PluginEntry]:
    entries = []
    for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        distribution = point.dist
        name = normalise(distribution.name) if distribution is not None else ""
        version = distribution.version if distribution is not None else ""
        entries.append(PluginEntry(name=point.name, module=point.value, distribution=name, version=version))
    return sorted(entries, key=lambda entry: (not entry.is_bundled, normalise(entry.name), entry.distribution))


def _local(folders: Sequence[str]) -> Iterator[PluginEntry]:
    """Modules ``NAME.py`` and packages ``NAME/plugin.py`` that state a ``MIDIGPT_API``."""
    for folder in folders:
        path = usable_path(folder, what="--plugins-dir", error=PluginError).resolve()
        if not path.is_dir():
            raise PluginError(f"--plugins-dir {folder}: is not a folder. Check the path.")
        try:
            os.scandir(path).close()
        except OSError as error:
            raise PluginError(f"--plugins-dir {folder}: cannot be read ({error.strerror}). Check the path.") from error
        for file in sorted([*path.glob("*.py"), *path.glob("*/plugin.py")]):
            package = file.parent.name if file.name == "plugin.py" and file.parent != path else None
            if stated_api(file) is None:
                continue
            module = f"{package}.plugin" if package else file.stem
            name = normalise(package or file.stem).removeprefix(_PREFIX)
            yield PluginEntry(
                name=name, module=module, distribution=str(file), version="", folder=str(path), status="local"
            )


def _named(entries: Iterable[PluginEntry], name: str, flag: str) -> list[PluginEntry]:
    entries = list(entries)
    matches = [entry for entry in entries if entry.answers_to(name)]
    if not matches:
        names = sorted({entry.name for entry in entries})
        raise PluginError(f"{flag} {name}: no such plugin.{nearest(name, names)} Available: {', '.join(names)}.")
    return matches


def _requested(candidates: list[PluginEntry], found: list[PluginEntry], selection: Selection) -> list[PluginEntry]:
    requested = []
    for name in selection.plugins:
        _named(found, name, "--plugin")
        matches = [entry for entry in candidates if entry.answers_to(name)]
        if not matches:
            raise PluginError(f"--plugin {name} and --no-plugin contradict one another. Keep one of them.")
        by_distribution = [entry for entry in matches if normalise(entry.distribution) == normalise(name)]
        by_name = [entry for entry in matches if normalise(entry.name) == normalise(name)]
        if len(by_name) == 1 and not by_distribution:
            requested.append(by_name[0])
        elif any(entry.is_bundled for entry in by_name):
            requested.append(next(entry for entry in by_name if entry.is_bundled))
        elif len(by_distribution) == 1:
            requested.append(by_distribution[0])
        elif by_distribution:
            names = " or ".join(f"--plugin {entry.name}" for entry in by_distribution)
            raise PluginError(f"--plugin {name}: distribution {name} has {len(by_distribution)} plugins. Use {names}.")
        else:
            raise PluginError(_conflict(by_name))
    return requested


def _conflict(entries: Sequence[PluginEntry]) -> str:
    """The message for one plugin name that several distributions claim."""
    origins = " and ".join(entry.origin for entry in entries)
    ways = " or ".join(
        f"--no-plugin {entry.name}" if entry.folder else f"--plugin {entry.distribution}" for entry in entries
    )
    return f"plugin name {entries[0].name!r} is claimed by {origins}, so none of them is used. Use {ways}."


def _mark_conflicts(entries: list[PluginEntry]) -> Iterator[PluginEntry]:
    by_name: dict[str, list[PluginEntry]] = {}
    for entry in entries:
        if entry.is_active:
            by_name.setdefault(normalise(entry.name), []).append(entry)
    for entry in entries:
        rivals = by_name.get(normalise(entry.name), [])
        if not entry.is_active or len(rivals) == 1 or entry.is_bundled:
            yield entry
        elif any(rival.is_bundled for rival in rivals):
            reason = f"plugin name {entry.name!r} of {entry.origin} is reserved for a bundled plugin. Rename it."
            if entry.requested:
                raise PluginError(reason)
            yield evolve(entry, status="conflict", reason=reason)
        elif entry.requested and not any(rival.requested for rival in rivals if rival is not entry):
            yield entry
        else:
            yield evolve(entry, status="conflict", reason=_conflict(rivals))


def _mark_incompatible(entries: Iterable[PluginEntry]) -> Iterator[PluginEntry]:
    for entry in entries:
        api = None if entry.is_bundled or not entry.is_active else stated_api(source_file(entry.module, entry.folder))
        if api is None or api == API_VERSION:
            yield entry
        else:
            yield evolve(entry, status="incompatible", reason=wrong_api(api))


def wrong_api(api: object) -> str:
    return f"it is written for plugin API {api if isinstance(api, str) else spell(api)}, and this is API {API_VERSION}"


def stated_api(source: Path | None) -> int | str | None:
    """The ``MIDIGPT_API`` that a source file states, without importing it; None if it cannot be determined, text if the
    number is too long."""
    if source is None:
        return None
    try:
        match = _API_LINE.search(read_bytes(source, _MOST_SOURCE_BYTES).decode())
    except (OSError, UnicodeDecodeError):
        return None
    if match is None:
        return None
    return int(match[1]) if len(match[1]) <= _MOST_DIGITS else f"{match[1][:_MOST_DIGITS]}…"


def source_file(module: str, folder: str | None) -> Path | None:
    """The source file of a module, found without importing its packages."""
    search: Sequence[str] | None = [folder] if folder else None
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for depth in range(len(parts)):
        spec = _find_spec(".".join(parts[: depth + 1]), search)
        if spec is None:
            return None
        search = spec.submodule_search_locations or []
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None


def _find_spec(name: str, search: Sequence[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, search)
        if spec is not None:
            return spec
    return None
