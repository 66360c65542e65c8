"""The components that the loaded plugins provide, and the lookup of components by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

from midigpt_core.components import RECORDS, ComponentRef
from midigpt_core.deprecation import field_warnings
from midigpt_core.errors import ComponentError, ConfigError, PluginError, unknown_name
from midigpt_core.kinds import Kind
from midigpt_core.plugins.discovery import PluginEntry, discover
from midigpt_core.plugins.loader import Rejected, implementations, load, rejecting, report, warn_deprecated
from midigpt_core.plugins.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pluggy
    from lightning.pytorch.callbacks import Callback

    from midigpt_core.components import ComponentSpec
    from midigpt_core.contracts import RunContext


@frozen
class Provided:
    """A component and the plugin that provides it."""

    spec: ComponentSpec
    plugin: PluginEntry

    @property
    def qualified_name(self) -> str:
        return f"{self.plugin.name}/{self.spec.name}"

    def ref(self, options: Mapping[str, Any] | None = None) -> ComponentRef:
        """The reference that :func:`midigpt_core.plugins.build` takes."""
        return ComponentRef(
            kind=self.spec.kind,
            name=self.spec.name,
            target=self.spec.target,
            options_class=self.spec.options,
            options=dict(options or {}),
            plugin=self.plugin.name,
            distribution=self.plugin.distribution,
            version=self.plugin.version,
            import_paths=(self.plugin.folder,) if self.plugin.folder else (),
        )


class Registry:
    """Loaded plugins. Record hooks run once, when their kind is first looked up."""

    def __init__(
        self, entries: Iterable[PluginEntry], manager: pluggy.PluginManager, set_aside: dict[PluginEntry, str]
    ) -> None:
        self.entries = tuple(entries)
        #: Plugins that could not be used, with the cause.
        self.set_aside = set_aside
        self._manager = manager
        self._provided: dict[Kind, tuple[Provided, ...]] = {}

    def provided(self, kind: str) -> tuple[Provided, ...]:
        """The components of a kind with their plugins: bundled, third parties by name, local ones."""
        kind = Kind(kind)
        if kind not in self._provided:
            found: list[Provided] = []
            for entry in self.in_use:
                try:
                    found.extend(Provided(spec, entry) for spec in collect(self._manager, entry, kind))
                except Rejected as rejection:
                    self._drop(entry, rejection)
            self._provided[kind] = tuple(found)
        return tuple(item for item in self._provided[kind] if item.plugin not in self.set_aside)

    def specs(self, kind: str) -> tuple[ComponentSpec, ...]:
        """The records of a kind, in the order of :meth:`provided`."""
        return tuple(item.spec for item in self.provided(kind))

    def find(self, kind: str, name: str) -> Provided:
        """The component that ``name`` or ``plugin/name`` means; raises :class:`PluginError`."""
        kind = Kind(kind)
        plugin, slash, component = name.rpartition("/")
        provided = self.provided(kind)
        if slash:
            matches = [item for item in provided if item.spec.name == component and item.plugin.answers_to(plugin)]
        else:
            matches = [item for item in provided if item.spec.name == component]
            matches = [item for item in matches if item.plugin.is_bundled] or matches
        if not matches:
            raise PluginError(self._unknown(kind, name))
        if len(matches) > 1:
            raise PluginError(_ambiguous(kind, name, matches))
        return matches[0]

    def resolve(self, kind: str, choice: str | Mapping[str, Any]) -> ComponentRef:
        """A name, or ``{"name": …, options…}``, as a reference; raises :class:`PluginError` for an unknown name."""
        kind = Kind(kind)
        options = {} if isinstance(choice, str) else {key: value for key, value in choice.items() if key != "name"}
        name = choice if isinstance(choice, str) else choice.get("name")
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{kind.setting}: no {kind.words} is named. Add a name: {{name: …}}.")
        return self.find(kind, name).ref(options)

    def check_requires(self, ref: ComponentRef, provider: ComponentRef, provides: Iterable[str]) -> None:
        """Raise :class:`PluginError` unless ``provider``, as built, provides what ``ref`` needs."""
        spec = self.find(ref.kind, f"{ref.plugin}/{ref.name}").spec
        missing = sorted(spec.requires - set(provides))
        if missing:
            needs = " and ".join(repr(capability) for capability in missing)
            labels = [value for value in provider.options.values() if isinstance(value, str)]
            label = f" ({', '.join(labels)})" if labels else ""
            raise PluginError(
                f"{ref.kind.words} {ref.name!r} needs {provider.kind.with_article} with {needs}; "
                f"{provider.kind.words} {provider.name!r}{label} does not provide it."
            )

    def source_of_selection(self) -> str | None:
        """The only data source of the plugins requested with ``--plugin``; None if they provide none.

        Raises :class:`PluginError` if they provide several.
        """
        sources = [item for item in self.provided("source") if item.plugin.requested]
        if len(sources) > 1:
            names = ", ".join(item.qualified_name for item in sources)
            raise PluginError(f"the requested plugins provide several data sources: {names}. Choose one with --source.")
        return sources[0].qualified_name if sources else None

    def callbacks(self, run: RunContext) -> list[Callback]:
        """The Lightning callbacks of every plugin for a run; a plugin's bug raises :class:`ComponentError`."""
        callbacks: list[Callback] = []
        for entry in self.in_use:
            for implementation in implementations(self._manager, entry, "midigpt_callbacks"):
                try:
                    callbacks.extend(implementation(run))
                except Exception as error:
                    raise ComponentError(f"callbacks of {entry}", "midigpt_callbacks", error) from error
        return callbacks

    @property
    def in_use(self) -> list[PluginEntry]:
        """The plugins that are neither disabled nor set aside."""
        return [entry for entry in self.entries if entry.is_active and entry not in self.set_aside]

    def _drop(self, entry: PluginEntry, rejection: Rejected) -> None:
        self.set_aside[entry] = str(rejection)
        report(entry, rejection)

    def _presets(self) -> set[str]:
        return {preset for item in self.provided(Kind.ENCODER) for preset in getattr(item.spec, "presets", ())}

    def _unknown(self, kind: Kind, name: str) -> str:
        if kind is Kind.ENCODER and name in self._presets():
            return f"{name!r} is a preset, not an encoder. Set encoder_config_path to {name!r} instead of encoder."
        message = unknown_name(kind.words, name, {item.spec.name for item in self.provided(kind)})
        if self.set_aside:
            message += f" Set aside: {', '.join(sorted(entry.name for entry in self.set_aside))}."
        return message


def collect(manager: pluggy.PluginManager, entry: PluginEntry, kind: Kind) -> tuple[ComponentSpec, ...]:
    """The records of one kind that one plugin returns; raises :class:`Rejected`."""
    hook, record_class = kind.hook, RECORDS[kind]
    records: list[ComponentSpec] = []
    for implementation in implementations(manager, entry, hook):
        with rejecting(f"in {hook}"):
            records.extend(implementation())
    for record in records:
        if not isinstance(record, record_class):
            raise Rejected(f"{hook} returned {type(record).__name__}, not {record_class.__name__}")
    # One warning for each field, however many records set it.
    for warning in {str(one): one for record in records for one in field_warnings(record)}.values():
        warn_deprecated(entry, warning)
    names = [record.name for record in records]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise Rejected(f"{hook} returned two components named {twice!r}")
    return tuple(records)


def _ambiguous(kind: Kind, name: str, matches: list[Provided]) -> str:
    origins = " and ".join(f"{item.plugin.origin} ({item.plugin.name})" for item in matches)
    ways = " or ".join(f"{kind.option} {item.qualified_name}" for item in matches)
    return f"{kind.words} {name!r} is provided by {origins}. Use {ways}."


def load_registry(selection: Selection | None = None) -> Registry:
    """Find and load the plugins that flags (``selection``) and environment variables select.

    Raises :class:`PluginError` if a requested plugin is missing or broken; other broken plugins are set aside.
    """
    entries = discover((selection or Selection()).with_environment())
    manager, set_aside = load(entries)
    return Registry(entries, manager, set_aside)


_current: list[Registry] = []


def current_registry() -> Registry:
    """The registry of this process; the first call loads one unless :func:`use_registry` came before."""
    if not _current:
        _current.append(load_registry())
    return _current[0]


def use_registry(registry: Registry) -> None:
    """Make ``registry`` the registry of this process."""
    _current[:] = [registry]
