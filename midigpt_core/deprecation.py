"""Deprecated parts of the plugin interface: they work for one more minor release, with a warning that names the plugin.

A hook, an argument of a hook and a field of a record are marked where they are defined::

    @hookspec(warn_on_impl=deprecated("the hook midigpt_old", since="0.2", use="Use midigpt_new."))
    def midigpt_old(): ...

    @hookspec(warn_on_impl_args={"run": deprecated("the argument 'run'", since="0.2", use="Use 'facts'.")})
    def midigpt_callbacks(run, facts): ...

    suffix: str = field(default="", metadata=deprecated_field("the field 'suffix'", since="0.2", use="Use suffixes."))

pluggy raises the warning of a hook when a plugin is registered; :func:`field_warnings` finds the fields that a plugin's
record sets. The loader prints both with the plugin's name. ``docs/plugins/promises.md`` says what authors can rely on.
"""

from __future__ import annotations

import re
from typing import Any

import attrs

_FIELD = "midigpt_core.deprecated"
_VERSION = re.compile(r"(\d+)\.(\d+)")


class PluginDeprecationWarning(DeprecationWarning):
    """A part of the plugin interface that a later minor release removes."""

    def __init__(self, message: str, removed: tuple[int, int]) -> None:
        super().__init__(message)
        #: The first minor release without it.
        self.removed = removed

    def is_overdue(self, version: str) -> bool:
        """Whether midigpt-core of this version should no longer have it."""
        return _minor(version) >= self.removed


def deprecated(what: str, *, since: str, use: str) -> PluginDeprecationWarning:
    """The warning for ``what``, deprecated in the minor release ``since`` (``"0.2"``) and removed in the one after it.

    ``use`` is a sentence that says what to do instead. Raises ValueError for a version without a minor number.
    """
    major, minor = _minor(since)
    removed = (major, minor + 1)
    return PluginDeprecationWarning(
        f"{what} is deprecated since midigpt-core {since} and will be removed in {major}.{minor + 1}. {use}", removed
    )


def deprecated_field(what: str, *, since: str, use: str) -> dict[str, Any]:
    """The ``metadata`` of a deprecated field of a record; the arguments are those of :func:`deprecated`."""
    return {_FIELD: deprecated(what, since=since, use=use)}


def field_warnings(record: Any) -> list[PluginDeprecationWarning]:
    """The warnings of the deprecated fields that an attrs record sets to something else than their defaults."""
    found = []
    for field in attrs.fields(type(record)):
        warning = field.metadata.get(_FIELD)
        if warning is not None and getattr(record, field.name) != _default(field, record):
            found.append(warning)
    return found


def _default(field: attrs.Attribute[Any], record: Any) -> Any:
    default: Any = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
        default = default.factory(record) if default.takes_self else default.factory()
    return field.converter(default) if callable(field.converter) else default


def _minor(version: str) -> tuple[int, int]:
    match = _VERSION.match(version)
    if match is None:
        raise ValueError(f"{version!r} is no version like '0.2'")
    return int(match[1]), int(match[2])
