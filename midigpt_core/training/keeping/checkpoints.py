"""A run's state in a file: written whole or not at all, read without running what it brings, and checked."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from midigpt_core import terminal
from midigpt_core.checkpoint.plain import plain_mapping
from midigpt_core.errors import CheckpointError
from midigpt_core.files import atomic_writer, open_regular
from midigpt_core.training.processes.memory import is_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = terminal.logger("midigpt_core.training")

#: What every state of a run has, by the type of its value.
_STATE = {
    "midigpt": dict,
    "global_step": int,
    "state_dict": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "loops": dict,
    "callbacks": dict,
}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoints, written whole or not at all and read without running what they bring."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        with atomic_writer(path) as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:
                # torch's zip writer fails again as it closes and hides why it failed first: a full disk, say.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The state of a run; raises :class:`CheckpointError` for a file that is damaged or holds something else."""
        return _read(path, map_location)


def require_whole(path: Path) -> None:
    """Raises :class:`CheckpointError` unless resuming could read ``path`` back as it was written.

    torch's reader checks no checksum, and Python's passes over directory entries that torch's refuses: both must read
    the file. Tensors are mapped, so that no second copy of them is made in memory.
    """
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            # An attribute that calls an entry a folder has torch leave its tensor uninitialised; torch writes none.
            # Nor does it compress: a small file could take minutes to be tested.
            damaged = (
                any(entry.external_attr or entry.compress_type for entry in archive.infolist()) or archive.testzip()
            )
    except Exception as error:
        # The errors of damaged archives are of a dozen types, and each means the same.
        raise _unreadable(path, error) from error
    if damaged:
        raise _unreadable(path)
    _read(path, "cpu", mmap=True)


def is_whole(path: Path) -> bool:
    """Whether resuming could read ``path`` back as it was written."""
    try:
        require_whole(path)
    except CheckpointError:
        return False
    return True


def first_whole(candidates: Sequence[Path]) -> Path | None:
    """The first of ``candidates`` that is whole, the others before it named in the log; None if there are none.

    Raises :class:`CheckpointError` if none of them is whole.
    """
    if len(candidates) == 1:
        require_whole(candidates[0])
    for path in candidates:
        if is_whole(path):
            return path
        _log.warning("%s is damaged: an older checkpoint is tried.", path)
    if candidates:
        raise CheckpointError(
            f"{candidates[0].parent}: every checkpoint is damaged. Remove the folder to start anew, or give a"
            " step*.ckpt file of another one."
        )
    return None


def saved_identity(path: Path) -> dict[str, Any]:
    """What a checkpoint says of the run that wrote it
    (:class:`midigpt_core.training.keeping.identity.RunIdentity`), as plain values; its tensors are not read."""
    identity: dict[str, Any] = _read(path, "cpu", mmap=True)["midigpt"]
    return identity


def _read(path: str | os.PathLike[str], map_location: Any | None, *, mmap: bool = False) -> dict[str, Any]:
    try:
        checkpoint = torch.load(os.fspath(path), map_location=map_location, weights_only=True, mmap=mmap)
    except Exception as error:
        if not mmap and is_memory(error):
            raise
        # torch's unpickler stumbles over damaged bytes in as many ways as Python's reader.
        raise _unreadable(path, error) from error
    missing = _missing(checkpoint)
    if missing:
        raise CheckpointError(
            f"{path}: is not the state of a run of this program ({missing}). Give a step*.ckpt file, or 'auto'."
        )
    # Shared lists and numbers without end are compared and shown otherwise.
    return {**checkpoint, "midigpt": plain_mapping(Path(path), "midigpt", checkpoint["midigpt"])}


def _unreadable(path: str | os.PathLike[str], error: Exception | None = None) -> CheckpointError:
    what = "is damaged or no checkpoint"
    if isinstance(error, OSError) and error.strerror:
        what = f"cannot be read ({error.strerror})"
    return CheckpointError(f"{path}: {what}. Resume from another step*.ckpt file, or start anew in another output_dir.")


def _missing(checkpoint: object) -> str:
    """What keeps ``checkpoint`` from being the state of a run; empty: nothing."""
    if not isinstance(checkpoint, dict):
        return f"it is a {type(checkpoint).__name__}"
    lacking = [name for name, kind in _STATE.items() if not isinstance(checkpoint.get(name), kind)]
    return f"it has no {lacking[0]!r}" if lacking else ""
