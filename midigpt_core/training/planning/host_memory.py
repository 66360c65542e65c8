"""The memory that this process may use, and a check for settings that need more, before any is allocated.

Linux grants more memory than it has, and kills the process that uses it.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from midigpt_core import control_groups
from midigpt_core.data import shared_memory
from midigpt_core.data.blocks import ROWS_PER_BLOCK
from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROC_CGROUP = Path("/proc/self/cgroup")
_CGROUP_ROOT = Path("/sys/fs/cgroup")
#: The fewest bytes that a position of a packed row takes: token, document, position id, role.
_BYTES_PER_POSITION = 13
#: About how many windows a block draws at once, and the bytes of a track in a window.
_WINDOWS_AT_ONCE = 6 * ROWS_PER_BLOCK
_BYTES_PER_TRACK = 4


def host_memory() -> int:
    """The most bytes that this process may use: the machine's memory and swap, or the limit of the process or of its
    control group if that is lower."""
    return min(_physical(), *_limits(), *_control_groups())


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


def _physical() -> int:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux
        return memory
    return memory + sum(int(line.split()[1]) << 10 for line in lines if line.startswith("SwapTotal:"))


def _limits() -> Iterator[int]:
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            yield soft


def _control_groups() -> Iterator[int]:
    for folder, is_v2 in control_groups.folders("memory", _PROC_CGROUP, _CGROUP_ROOT):
        try:
            limit = (folder / ("memory.max" if is_v2 else "memory.limit_in_bytes")).read_text(encoding="ascii").strip()
        except OSError:  # the root group has no limit file, and a container sees only its own group
            continue
        if limit.isdecimal():
            yield int(limit)
