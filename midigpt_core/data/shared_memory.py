"""How much shared memory data workers need, and whether the machine has it: containers often have 64 MiB."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from midigpt_core.data.blocks import ROWS_PER_BLOCK
from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from midigpt_core.data.settings import StreamSettings

FOLDER = "/dev/shm"
#: Blocks of a worker that are in use at once: that which is cut up, and those that are made ahead.
BLOCKS_A_WORKER = 3
# The fields of records.PackedBatch that have a value per position: three of 8 bytes, one of 4, one of 1.
BYTES_A_POSITION = 29
# Numbers that a row has beside its positions, and that each file is a whole number of pages.
_SPARE_BYTES = 64 << 10


def bytes_a_worker(settings: StreamSettings) -> int:
    """What a data worker takes of the shared memory, in bytes, at most."""
    return BLOCKS_A_WORKER * (ROWS_PER_BLOCK * settings.max_seq_len * BYTES_A_POSITION + _SPARE_BYTES)


def free_bytes() -> int | None:
    """Shared memory that is free, in bytes; None where the system does not say."""
    try:
        found = os.statvfs(FOLDER)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def require_room(settings: StreamSettings, num_workers: int, devices: int) -> None:
    """Raises :class:`ConfigError` unless the ``num_workers`` of each of this machine's ``devices`` have the memory."""
    free, each, count = free_bytes(), bytes_a_worker(settings), num_workers * devices
    if free is None or count * each <= free:
        return
    raise ConfigError(
        f"num_workers: {count} data workers need {_size(count * each)} of shared memory, and {remark()} Set num_workers"
        f" to {free // each // devices}, or give the container more (docker run --shm-size=1g)."
    )


def remark() -> str:
    """What is free, as a sentence."""
    free = free_bytes()
    return f"{FOLDER} has {_size(free)} free." if free is not None else f"{FOLDER} is not there."


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
