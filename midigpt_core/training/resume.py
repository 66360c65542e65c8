"""Continuing a run: which checkpoint, and whether it belongs to this run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_STEP_FILE = re.compile(r"step(\d+)\.ckpt")
_MISSING = "nothing"


def step_files(folder: Path) -> dict[int, Path]:
    """The resumable checkpoints in ``folder`` by step, ascending."""
    found = ((_STEP_FILE.fullmatch(path.name), path) for path in folder.glob("step*.ckpt"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def find_checkpoint(resume: str | os.PathLike[str] | None, folder: Path) -> Path | None:
    """The checkpoint to continue from; None: start anew.

    ``resume``: ``"auto"`` takes the newest in ``folder`` if there is one, anything else is a path, None starts anew and
    refuses a folder that already holds checkpoints, for they would be mixed up with the new run's.
    """
    found = step_files(folder)
    if resume is None:
        if found:
            raise CheckpointError(
                f"{folder}: holds checkpoints of an earlier run, up to step {max(found)}."
                " Continue it with resume='auto' (--resume auto), or choose another output_dir."
            )
        return None
    if resume == "auto":
        return found[max(found)] if found else None
    path = Path(resume)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint. Give a step*.ckpt file, or 'auto'.")
    return path


def first_difference(ours: Any, theirs: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """The key path at which two trees of plain values differ first, with both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            inner = f"{path}.{key}" if path else str(key)
            difference = first_difference(ours.get(key, _MISSING), theirs.get(key, _MISSING), inner)
            if difference:
                return difference
        return None
    if isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        pairs = enumerate(zip(ours, theirs, strict=True))
        differences = (first_difference(mine, other, f"{path}[{index}]") for index, (mine, other) in pairs)
        return next((difference for difference in differences if difference), None)
    return None if ours == theirs else (path, ours, theirs)


def require_same(ours: Mapping[str, Any], theirs: Mapping[str, Any], what: str, action: str) -> None:
    """Raise :class:`CheckpointError` naming the first field in which ``what`` differs from this run."""
    difference = first_difference(dict(ours), dict(theirs))
    if difference:
        path, mine, other = difference
        raise CheckpointError(f"{what}: {path} is {other!r}, but {mine!r} in this run. {action}")
