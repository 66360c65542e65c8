"""Continuing a run: which checkpoint, and whether it belongs to this run."""

from __future__ import annotations

import logging
import re
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midigpt_core.checkpoint.headers import read_header
from midigpt_core.errors import CheckpointError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

_log = logging.getLogger("midigpt_core.training")

_STEP_FILE = re.compile(r"step(\d+)\.ckpt")
_MISSING = "nothing"


def step_files(folder: Path) -> dict[int, Path]:
    """The resumable checkpoints in ``folder`` by step, ascending."""
    found = ((_STEP_FILE.fullmatch(path.name), path) for path in folder.glob("step*.ckpt"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def is_whole(path: Path) -> bool:
    """Whether a checkpoint reads back as it was written: every record of its archive against its CRC-32."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError):
        return False


def find_checkpoint(resume: str | os.PathLike[str] | None, folder: Path) -> Path | None:
    """The checkpoint to continue from; None: start anew.

    ``resume``: ``"auto"`` takes the newest in ``folder`` that is whole if there is one, anything else is a path, None
    starts anew and refuses a folder that already holds checkpoints, for they would be mixed up with the new run's.
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
        return _newest_whole(found)
    path = Path(resume)
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint. Give a step*.ckpt file, or 'auto'.")
    if _is_bundle(path):
        raise CheckpointError(
            f"{path}: a bundle, not the state of a run. Give a step*.ckpt file; to start from a bundle's weights, use "
            "init_from."
        )
    return path


def require_no_result(run_dir: Path) -> None:
    """Raises :class:`CheckpointError` if a run that starts anew would replace the bundle of an earlier one."""
    for path in sorted(run_dir.glob("model_final*")):
        raise CheckpointError(
            f"{path}: is the bundle of an earlier run, with no checkpoint to go on from. Choose another output_dir, or "
            "move it away."
        )


def _is_bundle(path: Path) -> bool:
    try:
        read_header(path)
    except CheckpointError:
        return False
    return True


def _newest_whole(found: dict[int, Path]) -> Path | None:
    for path in reversed(found.values()):
        if is_whole(path):
            return path
        _log.warning("%s is damaged: an older checkpoint is tried.", path)
    if found:
        raise CheckpointError(
            f"{found[max(found)].parent}: every checkpoint is damaged. Remove the folder to start anew, or give a"
            " step*.ckpt file of another one."
        )
    return None


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The key paths at which two trees of plain values differ, in the order of ours, with both values."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in dict.fromkeys([*ours, *theirs]):
            inner = f"{path}.{key}" if path else str(key)
            yield from differences(ours.get(key, _MISSING), theirs.get(key, _MISSING), inner)
    elif isinstance(ours, list | tuple) and isinstance(theirs, list | tuple) and len(ours) == len(theirs):
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(mine, other, f"{path}[{index}]")
    elif ours != theirs:
        yield path, ours, theirs


def recount_micro_batches(checkpoint: dict[str, Any], accumulation: int) -> None:
    """Have Lightning's count of micro-batches in ``checkpoint`` fit ``accumulation``, which may be another than before:
    where the count divides by it, steps end and evaluations are due."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        shift = checkpoint["global_step"] * accumulation - counts["processed"]
        # Completed may lag by one: Lightning saves in the middle of its bookkeeping, and knows.
        for name in ("ready", "started", "processed", "completed"):
            counts[name] += shift


def require_same(ours: Mapping[str, Any], theirs: Mapping[str, Any], what: str, action: str) -> None:
    """Raise :class:`CheckpointError` naming the first field in which ``what`` differs from this run."""
    difference = next(differences(dict(ours), dict(theirs)), None)
    if difference:
        path, mine, other = difference
        raise CheckpointError(f"{what}: {path} is {other!r}, but {mine!r} in this run. {action}")
