"""Limits of this process: on its memory, its open files, and what it leaves behind when it crashes."""

from __future__ import annotations

from midigpt_core.system.capabilities import has

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # not Windows
    msvcrt = None  # type: ignore[assignment]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: Files that a program may have open for other reasons.
_USUALLY_OPEN = 256


def allow_open(count: int) -> None:
    """Let this process open ``count`` files in addition to its usual ones, as far as the system allows.

    Many systems start a process with a limit of 1,024, or of 256, and let it raise the limit itself.
    """
    if not has("rlimit"):
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _USUALLY_OPEN + count
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def memory_limits() -> Iterator[int]:
    """The limits on this process's memory, in bytes; none where there are none."""
    if not has("rlimit"):
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft = resource.getrlimit(kind)[0]
        if soft != resource.RLIM_INFINITY:
            yield soft


def can_limit_memory() -> bool:
    """Whether :func:`limit_memory` has an effect. It needs to know how much memory the process has already: macOS has
    no such file, and takes limits on memory without enforcing them."""
    return has("rlimit") and has("proc")


def limit_memory(beyond: int | None) -> None:
    """Make allocations fail that exceed the current size by more than ``beyond`` bytes; None: only the hard limit
    applies. Does nothing unless :func:`can_limit_memory`."""
    if not can_limit_memory():
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = hard
    if beyond is not None:
        with open("/proc/self/statm") as sizes:  # noqa: PTH123 - the parser's process loads no pathlib
            pages = int(sizes.read().split(maxsplit=1)[0])
        limit = pages * resource.getpagesize() + beyond
        limit = limit if hard < 0 else min(limit, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def crash_quietly() -> None:
    """Have a crash of this process write no memory to the disk and open no window."""
    if has("rlimit"):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    windows: Any = msvcrt
    if windows is not None:
        windows.SetErrorMode(windows.SEM_FAILCRITICALERRORS | windows.SEM_NOGPFAULTERRORBOX)
