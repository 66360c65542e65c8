"""What the layouts of the architectures share: sizes are read from a header, names and shapes are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import NOTHING, fields

from midigpt_core.config.wording import spell
from midigpt_core.errors import CheckpointError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_LARGEST = 1 << 24
_LARGEST_NUMBER = 1e9
NEXT = "The file is not a complete bundle; copy it again or choose another."


def checked_sizes(sizes: type[Any], config: Mapping[str, Any], path: Path, *, model: str) -> dict[str, Any]:
    """The values of ``config`` for the attrs class ``sizes``, whole numbers except in its fields of type float.

    ``model`` is what messages call the architecture's models. Raises :class:`midigpt_core.errors.CheckpointError`
    naming a field that is unknown, missing or out of range.
    """
    known = {attribute.name: attribute for attribute in fields(sizes)}
    for key, value in config.items():
        if key not in known:
            raise CheckpointError(
                f"{path}: config has a field {spell(key)} that no {model} has.{nearest(key[:80], list(known))}"
            )
        if known[key].type == "float":
            if type(value) not in (int, float) or not 1 < value <= _LARGEST_NUMBER:
                raise CheckpointError(
                    f"{path}: config.{key} is {spell(value)}, expected a number above 1 and at most "
                    f"{_LARGEST_NUMBER:g}. {NEXT}"
                )
        elif type(value) is not int or not 1 <= value <= _LARGEST:
            raise CheckpointError(
                f"{path}: config.{key} is {spell(value)}, expected a whole number from 1 to {_LARGEST}. {NEXT}"
            )
    for name, attribute in known.items():
        if attribute.default is NOTHING and name not in config:
            raise CheckpointError(f"{path}: config has no field {name!r}. {NEXT}")
    return dict(config)


def check_layers(found: Mapping[str, Any], n_layer: int, path: Path) -> None:
    """Raise :class:`midigpt_core.errors.CheckpointError` for more layers than tensors, before a list of a million names
    is made."""
    if n_layer > len(found):
        raise CheckpointError(f"{path}: config.n_layer is {n_layer}, but there are {len(found)} tensors. {NEXT}")


def compare_tensors(
    found: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    path: Path,
    *,
    model: str,
    may_lack: str | None = None,
    is_left_out: Callable[[str], bool] = lambda _: False,
) -> None:
    """Compare names and shapes in a file with those of the model, except for a tensor that it may lack and for tensors
    that are left out. Raises :class:`midigpt_core.errors.CheckpointError` naming the first tensor that differs."""
    for name, shape in expected.items():
        if name not in found:
            if name == may_lack:
                continue
            raise CheckpointError(f"{path}: tensor {name!r} is missing. {NEXT}")
        if tuple(found[name]) != shape:
            raise CheckpointError(
                f"{path}: tensor {name!r} has shape {tuple(found[name])}, its config requires {shape}. {NEXT}"
            )
    for name in found:
        if name not in expected and not is_left_out(name):
            raise CheckpointError(f"{path}: there is a tensor {name[:80]!r} that no {model} has. {NEXT}")
