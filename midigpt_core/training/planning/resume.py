"""Continuing a run: which checkpoint, and whether it belongs to this run."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from midigpt_core.checkpoint.headers import read_header
from midigpt_core.errors import CheckpointError
from midigpt_core.files import WriteError
from midigpt_core.paths import usable_path

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_STEP_FILE = re.compile(r"step(\d+)\.ckpt")
#: Used in place of a value that one of two trees lacks.
MISSING = "nothing"


def step_files(folder: Path) -> dict[int, Path]:
    """The resumable checkpoints in ``folder`` by step, ascending."""
    found = ((_STEP_FILE.fullmatch(path.name), path) for path in folder.glob("step*.ckpt"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def resume_candidates(resume: str | os.PathLike[str] | None, folder: Path) -> tuple[Path, ...]:
    """The checkpoints that a run may continue from, in the order in which they are tried; empty: a new run.

    ``resume``: ``"auto"`` means those in ``folder``, newest first; anything else is a path. None starts a new run and
    rejects a folder that already contains checkpoints: old and new ones would be mixed. Whether a file is intact is
    checked when it is read (:func:`midigpt_core.training.keeping.checkpoints.first_whole`).
    """
    found = step_files(folder)
    if resume is None:
        if found:
            raise CheckpointError(
                f"{folder}: contains checkpoints of an earlier run, up to step {max(found)}."
                " Continue it with resume='auto' (--resume auto), or choose another output_dir."
            )
        return ()
    if resume == "auto":
        return tuple(reversed(found.values()))
    path = usable_path(resume, what="resume", error=CheckpointError)
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "there is no such checkpoint"
        raise CheckpointError(f"{path}: {what}. Give a step*.ckpt file, or 'auto'.")
    if path.suffix != ".ckpt" and _is_bundle(path):
        raise CheckpointError(
            f"{path}: is a bundle, not a checkpoint. Give a step*.ckpt file; to start from a bundle's weights, use "
            "init_from."
        )
    return (path,)


@contextmanager
def last_checkpoint_named(folder: Path) -> Iterator[None]:
    """Add to a :class:`WriteError` the name of the last checkpoint."""
    try:
        yield
    except WriteError as error:
        found = step_files(folder)
        last = f"The last checkpoint is {found[max(found)]}" if found else "No checkpoint is there yet"
        raise WriteError(f"{error} {last}.") from error


def require_no_result(run_dir: Path) -> None:
    """Raise :class:`CheckpointError` if a new run would replace the bundle of an earlier one."""
    for path in sorted(run_dir.glob("model_final*")):
        raise CheckpointError(
            f"{path}: is the bundle of an earlier run, without a checkpoint to continue from. Choose another "
            "output_dir, or move the bundle."
        )


def _is_bundle(path: Path) -> bool:
    try:
        read_header(path)
    except CheckpointError:
        return False
    return True


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The key paths at which two trees of plain values differ, in the order of ``ours``, with both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(ours.get(key, MISSING), theirs.get(key, MISSING), inner)
    elif isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(mine, other, f"{path}[{index}]")
    elif ours != theirs:
        yield path, ours, theirs


def recount_micro_batches(checkpoint: dict[str, Any], accumulation: int) -> None:
    """Adapt Lightning's count of micro-batches in ``checkpoint`` to ``accumulation``, which may have changed. Steps end
    and evaluations are due when the count is a multiple of it."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        shift = checkpoint["global_step"] * accumulation - counts["processed"]
        # Completed may lag by one: Lightning saves before it has updated all counts, and expects this.
        for name in ("ready", "started", "processed", "completed"):
            counts[name] += shift


def require_same(ours: Mapping[str, Any], theirs: Mapping[str, Any], what: str, action: str) -> None:
    """Raise :class:`CheckpointError` naming the first field in which ``what`` differs from this run."""
    difference = next(differences(dict(ours), dict(theirs)), None)
    if difference:
        path, mine, other = difference
        raise CheckpointError(f"{what}: {path} is {other!r}, but {mine!r} in this run. {action}")
