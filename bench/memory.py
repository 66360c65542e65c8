"""Memory that processes hold for themselves: mapped files aside, and what a fork shares counted once."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PROC = Path("/proc")
_COUNTED = ("Pss_Anon:", "Pss_Shmem:")
_SECONDS_BETWEEN_LOOKS = 0.02


def held_bytes(pid: int | str = "self") -> int:
    """Anonymous and shared memory of a process, what it shares with others divided among them; 0 once it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(_COUNTED))


def peak_bytes(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The most that a command and its child processes held together, looked at every 20 ms."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    peak = 0
    while process.poll() is None:
        peak = max(peak, sum(map(held_bytes, _with_children(process.pid))))
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    for children in (_PROC / str(pid) / "task").glob("*/children"):
        try:
            found = children.read_text(encoding="ascii").split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in found:
            yield from _with_children(int(child))
