"""Attribute controls of plugins: found by name, and called on the notes of a batch of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from midigpt_core.components import AttributeSpec
from midigpt_core.contracts import PluginAttribute
from midigpt_core.errors import ComponentError, MidigptError
from midigpt_core.kinds import Kind
from midigpt_core.plugins.names import normalise
from midigpt_core.plugins.registry import current_registry
from midigpt_core.plugins.targets import import_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from midigpt_core.records import BoolArray, Int16Array
    from midigpt_core.score.window_notes import WindowNotes


def find_attribute(name: str) -> PluginAttribute:
    """The attribute control that ``name`` or ``plugin/name`` means, among the plugins of this process.

    Raises :class:`midigpt_core.errors.PluginError` if there is none, or several.
    """
    found = current_registry().find(Kind.ATTRIBUTE, name)
    spec = found.spec
    if not isinstance(spec, AttributeSpec):
        raise TypeError(f"{found.qualified_name} is no AttributeSpec")
    return PluginAttribute(
        # One spelling, which is also that of figures: my-plugin/name.
        name=f"{normalise(found.plugin.name)}/{spec.name}",
        level=spec.level,
        levels=spec.levels,
        track_type=spec.track_type,
        summary=spec.summary,
        # Bundles store it: no path of this machine.
        distribution=found.plugin.distribution if found.plugin.folder is None else found.plugin.name,
        version=found.plugin.version,
        target=spec.target,
        import_paths=found.ref().import_paths,
    )


def load_function(attribute: PluginAttribute) -> Callable[[WindowNotes], NDArray[np.integer[Any]]]:
    """The function that computes the levels; ``attribute.target`` is not None. Raises :class:`ComponentError`."""
    try:
        function: Callable[[WindowNotes], NDArray[np.integer[Any]]] = import_target(
            str(attribute.target), attribute.import_paths
        )
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(attribute), f"while {attribute.target} was imported", error) from error
    return function


def compute_levels(attribute: PluginAttribute, notes: WindowNotes) -> Int16Array:
    """The levels of ``attribute`` in N windows: int16[N, T] or, of a bar attribute, int16[N, T, B]; -1 where it has
    none or does not apply.

    Raises :class:`ComponentError` that names the attribute if its function fails or breaks its contract.
    """
    function = load_function(attribute)
    try:
        found = function(notes)
        problem = _contradiction(attribute, found, notes)
        if problem:
            raise ValueError(f"it returned {problem}")
        valid = np.where(_applies(attribute, notes), found, -1)
        if valid.size and not -1 <= int(valid.min()) <= int(valid.max()) < attribute.levels:
            raise ValueError(
                f"it returned levels {valid.min()} to {valid.max()}; they are -1 for none and 0 to "
                f"{attribute.levels - 1}"
            )
    except MidigptError:
        raise
    except Exception as error:
        raise ComponentError(str(attribute), "on the notes of a batch", error) from error
    return valid.astype(np.int16)


def _contradiction(attribute: PluginAttribute, found: object, notes: WindowNotes) -> str:
    """What is wrong with the answer of a function; empty if nothing is."""
    shape = notes.shape[:2] if attribute.level == "track" else notes.shape
    if not isinstance(found, np.ndarray):
        return f"a {type(found).__name__}, not an array"
    if not np.issubdtype(found.dtype, np.integer):
        return f"an array of {found.dtype}, not of integers"
    if found.shape != shape:
        return f"shape {found.shape} instead of {shape}"
    return ""


def _applies(attribute: PluginAttribute, notes: WindowNotes) -> BoolArray:
    """Where the attribute can have a level: bool[N, T], or of a bar attribute bool[N, T, B]."""
    applies: BoolArray = notes.num_bars >= 0
    if attribute.track_type != "both":
        applies = applies & (notes.drum == (attribute.track_type == "drum"))
    if attribute.level == "track":
        return applies
    return applies[:, :, None] & (np.arange(notes.shape[2]) < notes.num_bars[:, :, None])
