"""Builds a component from a resolved reference. It imports only the target, so it works in a spawned worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_core.config.structure import structure_class
from midigpt_core.errors import ComponentError, ConfigError, MidigptError
from midigpt_core.plugins.targets import import_target

if TYPE_CHECKING:
    from midigpt_core.components import ComponentRef


def structure_options(ref: ComponentRef) -> Any:
    """The options of a reference as an instance of the component's options class (None without one).

    Raises :class:`ConfigError` naming the option, with the nearest name for an unknown one.
    """
    if ref.options_class is None:
        if ref.options:
            raise ConfigError(f"{ref.kind.setting}.{next(iter(ref.options))}: {ref} takes no options. Remove it.")
        return None
    options_class = _imported(ref, ref.options_class)
    return structure_class(dict(ref.options), options_class, ref.kind.setting)


def build(ref: ComponentRef, context: Any) -> Any:
    """Build the component: ``factory(options, context)``.

    Raises :class:`ConfigError` for options that do not fit, and any :class:`MidigptError` of the factory. Every other
    exception of the factory is a bug in the plugin and becomes a chained :class:`ComponentError`.
    """
    options = structure_options(ref)
    factory = _imported(ref, ref.target)
    try:
        return factory(options, context)
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(ref), "while it was built", error) from error


def _imported(ref: ComponentRef, target: str) -> Any:
    try:
        return import_target(target, ref.import_paths)
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(ref), f"while {target} was imported", error) from error
