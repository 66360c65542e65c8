"""Checks that the machine has the shared memory that data workers need: containers often have only 64 MiB."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.data.blocks import ROWS_PER_BLOCK
from midigpt_core.errors import ConfigError
from midigpt_core.system.machine import SHARED_MEMORY, free_shared_memory

if TYPE_CHECKING:
    from midigpt_core.data.settings import StreamSettings

#: Blocks of a worker that are in use at once: the one that is being cut up, and the ones made ahead.
BLOCKS_A_WORKER = 3
# The fields of records.PackedBatch that have a value per position: three of 8 bytes, one of 4, one of 1.
BYTES_A_POSITION = 29
# For values that a packed row has besides its positions, and for rounding each file up to whole pages.
_SPARE_BYTES = 64 << 10


def bytes_a_worker(settings: StreamSettings) -> int:
    """The most shared memory that a data worker takes, in bytes."""
    return BLOCKS_A_WORKER * (ROWS_PER_BLOCK * settings.max_seq_len * BYTES_A_POSITION + _SPARE_BYTES)


def require_room(settings: StreamSettings, num_workers: int, devices: int) -> None:
    """Raise :class:`ConfigError` if shared memory is too small for ``num_workers`` for each of this machine's
    ``devices``."""
    free, each, count = free_shared_memory(), bytes_a_worker(settings), num_workers * devices
    if free is None or count * each <= free:
        return
    raise ConfigError(
        f"num_workers: {count} data workers need {_size(count * each)} of shared memory, and {remark()} Set num_workers"
        f" to {free // each // devices}, or give the container more (docker run --shm-size=1g)."
    )


def remark() -> str:
    """A sentence about the free shared memory."""
    free = free_shared_memory()
    return f"{SHARED_MEMORY} has {_size(free)} free." if free is not None else f"{SHARED_MEMORY} is not there."


def _size(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
