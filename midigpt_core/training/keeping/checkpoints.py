"""Checkpoint files: written completely or not at all, checked, and read without running code from the file."""

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

#: The entries that every checkpoint has, with the types of their values.
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
    """Lightning's checkpoints, written completely or not at all and read without running code from the file."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        with atomic_writer(path) as stream:
            try:
                torch.save(checkpoint, stream)
            except RuntimeError as error:
                # torch's zip writer fails again when it closes and hides the first error, e.g. a full disk.
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read the state of a run. Raises :class:`CheckpointError` if the file is damaged or not a checkpoint."""
        return _read(path, map_location)


def require_whole(path: Path) -> None:
    """Raise :class:`CheckpointError` unless ``path`` can be read back as it was written.

    torch's reader checks no checksum, and Python's accepts directory entries that torch's rejects, so both read the
    file. Tensors are memory-mapped to avoid a second copy in memory.
    """
    try:
        with open_regular(path) as stream, zipfile.ZipFile(stream) as archive:
            # torch writes no attributes and does not compress. An attribute that marks an entry as a folder would make
            # it leave the tensor uninitialised, and a small compressed file could take minutes to test.
            damaged = (
                any(entry.external_attr or entry.compress_type for entry in archive.infolist()) or archive.testzip()
            )
    except Exception as error:
        # Damaged archives raise a dozen types of errors, all with the same meaning.
        raise _unreadable(path, error) from error
    if damaged:
        raise _unreadable(path)
    _read(path, "cpu", mmap=True)


def is_whole(path: Path) -> bool:
    """Whether ``path`` can be read back as it was written."""
    try:
        require_whole(path)
    except CheckpointError:
        return False
    return True


def first_whole(candidates: Sequence[Path]) -> Path | None:
    """The first intact file of ``candidates``, after a warning for each damaged one; None without candidates.

    Raises :class:`CheckpointError` if all are damaged.
    """
    if len(candidates) == 1:
        require_whole(candidates[0])
    for path in candidates:
        if is_whole(path):
            return path
        _log.warning("%s is damaged: trying an older checkpoint.", path)
    if candidates:
        raise CheckpointError(
            f"{candidates[0].parent}: every checkpoint is damaged. Remove the folder to start over, or give a"
            " step*.ckpt file from another folder."
        )
    return None


def saved_identity(path: Path) -> dict[str, Any]:
    """The identity of the run that wrote a checkpoint
    (:class:`midigpt_core.training.keeping.identity.RunIdentity`), as plain values; its tensors are not read."""
    identity: dict[str, Any] = _read(path, "cpu", mmap=True)["midigpt"]
    return identity


def _read(path: str | os.PathLike[str], map_location: Any | None, *, mmap: bool = False) -> dict[str, Any]:
    try:
        checkpoint = torch.load(os.fspath(path), map_location=map_location, weights_only=True, mmap=mmap)
    except Exception as error:
        if not mmap and is_memory(error):
            raise
        # On damaged bytes torch's unpickler raises as many types of errors as Python's zip reader.
        raise _unreadable(path, error) from error
    missing = _missing(checkpoint)
    if missing:
        raise CheckpointError(
            f"{path}: is not a checkpoint of midigpt-core ({missing}). Give a step*.ckpt file, or 'auto'."
        )
    # Rejects shared lists and huge numbers, which are too slow to compare and to print.
    return {**checkpoint, "midigpt": plain_mapping(Path(path), "midigpt", checkpoint["midigpt"])}


def _unreadable(path: str | os.PathLike[str], error: Exception | None = None) -> CheckpointError:
    what = "is damaged or not a checkpoint"
    if isinstance(error, OSError) and error.strerror:
        what = f"cannot be read ({error.strerror})"
    return CheckpointError(f"{path}: {what}. Resume from another step*.ckpt file, or start over in another output_dir.")


def _missing(checkpoint: object) -> str:
    """Why ``checkpoint`` is not the state of a run; empty if it is."""
    if not isinstance(checkpoint, dict):
        return f"it is a {type(checkpoint).__name__}"
    lacking = [name for name, kind in _STATE.items() if not isinstance(checkpoint.get(name), kind)]
    return f"it has no {lacking[0]!r}" if lacking else ""
