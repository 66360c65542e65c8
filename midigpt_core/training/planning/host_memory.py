"""The memory that this process may use, and a check for settings that need more, before any is allocated.

Linux grants more memory than it has, and kills the process that uses it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from midigpt_core.data import shared_memory
from midigpt_core.data.blocks import ROWS_PER_BLOCK
from midigpt_core.errors import ConfigError
from midigpt_core.system import control_groups
from midigpt_core.system.limits import memory_limits
from midigpt_core.system.machine import memory_and_swap

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The fewest bytes that a position of a packed row takes: token, document, position id, role.
_BYTES_PER_POSITION = 13
#: About how many windows a block draws at once, and the bytes of a track in a window.
_WINDOWS_AT_ONCE = 6 * ROWS_PER_BLOCK
_BYTES_PER_TRACK = 4


def host_memory() -> int:
    """The most bytes that this process may use: the machine's memory and swap, or the limit of the process or of its
    control group if that is lower. ``sys.maxsize`` where the system says none of these."""
    memory = memory_and_swap()
    known = [] if memory is None else [memory]
    return min([*known, *memory_limits(), *_control_groups()], default=sys.maxsize)


def require_rows_fit(*, max_tracks: int, max_seq_len: int, batch_size: int, eval_rows: int = 0) -> None:
    """Raise :class:`ConfigError` if packed rows or windows are larger than the memory. Does not import torch.

    ``eval_rows`` rows are kept on this machine for the whole run.
    """
    memory = host_memory()
    windows = _WINDOWS_AT_ONCE * max_tracks * _BYTES_PER_TRACK
    block = ROWS_PER_BLOCK * max_seq_len * _BYTES_PER_POSITION
    batch = batch_size * max_seq_len * _BYTES_PER_POSITION
    kept = eval_rows * max_seq_len * shared_memory.BYTES_A_POSITION
    for name, value, needed, what in (
        ("max_tracks", max_tracks, windows, "the windows drawn at once"),
        ("max_seq_len", max_seq_len, block, f"{ROWS_PER_BLOCK} packed rows"),
        ("batch_size", batch_size, batch, f"a batch of packed rows of {max_seq_len} tokens"),
        ("eval_rows", eval_rows, kept, f"the packed rows of {max_seq_len} tokens that every evaluation sees"),
    ):
        if needed > memory:
            raise ConfigError(
                f"{name}: with {value}, {what} need {spelled_size(needed)}, but only {spelled_size(memory)} of "
                "memory are available. Lower it."
            )


def spelled_size(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"


def _control_groups() -> Iterator[int]:
    for folder, is_v2 in control_groups.folders("memory"):
        try:
            limit = (folder / ("memory.max" if is_v2 else "memory.limit_in_bytes")).read_text(encoding="ascii").strip()
        except OSError:  # the root group has no limit file, and a container sees only its own group
            continue
        if limit.isdecimal():
            yield int(limit)
