"""Resolves the components that a configuration chooses, all at once, so that one error can name all that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midigpt_core.errors import MidigptError
from midigpt_core.plugins.building import structure_options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from midigpt_core.components import ComponentRef
    from midigpt_core.kinds import Kind
    from midigpt_core.plugins.registry import Registry


def resolve_all(registry: Registry, choices: Mapping[Kind, Any]) -> tuple[dict[Kind, ComponentRef], list[MidigptError]]:
    """The references of ``choices`` whose names are known and whose options fit, and the errors of the others."""
    refs: dict[Kind, ComponentRef] = {}
    problems: list[MidigptError] = []
    for kind, choice in choices.items():
        try:
            ref = registry.resolve(kind, choice)
            structure_options(ref)
            refs[kind] = ref
        except MidigptError as error:
            problems.append(error)
    return refs, problems
