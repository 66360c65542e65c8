"""Builds a component from a resolved reference. It imports only the target, so it works in a spawned worker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_core.config.structure import structure_class
from midigpt_core.errors import ComponentError, ConfigError, MidigptError
from midigpt_core.kinds import Kind
from midigpt_core.plugins.targets import import_target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.components import ComponentRef

#: What the core uses of every component of a kind.
_USED: Mapping[Kind, tuple[str, ...]] = {
    Kind.SOURCE: ("shards",),
    Kind.ENCODER: ("vocabulary", "encode_batch", "decode", "to_config"),
    Kind.MASK: ("mask",),
    Kind.ARCHITECTURE: ("forward", "named_parameters", "state_dict", "architecture_config"),
    Kind.OPTIMIZER: ("step", "param_groups", "state_dict"),
    Kind.LOGGER: ("log_metrics", "log_hyperparams", "finalize"),
    Kind.CHECKPOINT_FORMAT: ("matches", "read_header"),
    Kind.METRIC: ("measure",),
    Kind.ADAPTER: ("state_dict",),
}


def structure_options(ref: ComponentRef) -> Any:
    """The options of a reference as an instance of the component's options class (None without one).

    Raises :class:`ConfigError` naming the option, with the nearest name for an unknown one, and
    :class:`ComponentError` for a class that cannot be one of options.
    """
    if ref.options_class is None:
        if ref.options:
            raise ConfigError(f"{ref.kind.setting}.{next(iter(ref.options))}: {ref} takes no options. Remove it.")
        return None
    options_class = _imported(ref, ref.options_class)
    try:
        return structure_class(dict(ref.options), options_class, ref.kind.setting)
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(ref), f"its options class {ref.options_class}", error) from error


def build(ref: ComponentRef, context: Any) -> Any:
    """Build the component: ``factory(options, context)``.

    Raises :class:`ConfigError` for options that do not fit, and any :class:`MidigptError` of the factory. Every other
    exception of the factory is a bug in the plugin and becomes a chained :class:`ComponentError`, and so does an object
    that cannot be a component of this kind.
    """
    options = structure_options(ref)
    factory = _imported(ref, ref.target)
    try:
        component = factory(options, context)
        if problem := _lack(ref, component):
            raise TypeError(problem)
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(ref), "while it was built", error) from error
    return component


def _lack(ref: ComponentRef, component: Any) -> str:
    """Why an object that a factory returned cannot be a component of its kind; empty if nothing is known."""
    if component is None and (ref.kind is Kind.LOGGER or ref.name == "none"):
        return ""
    members = dir(component)  # hasattr runs properties
    missing = next(
        (name for name in _USED.get(ref.kind, ()) if name not in members and not hasattr(component, name)), None
    )
    if missing is None:
        return ""
    return f"its factory returned an object of type {type(component).__name__}, which has no {missing}"


def _imported(ref: ComponentRef, target: str) -> Any:
    try:
        return import_target(target, ref.import_paths)
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(ref), f"while {target} was imported", error) from error
