"""The Linux control groups of this process, through which batch systems and containers limit its resources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from midigpt_core.system.capabilities import has

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The file that names the groups of this process, and the folder that contains them.
MEMBERSHIP = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def folders(controller: str) -> Iterator[tuple[Path, bool]]:
    """The folder of this process's control group for ``controller`` and of every parent group, each with whether it
    uses version 2 of the interface.

    Some of the folders may not exist: a container sees only its own.
    """
    if not has("proc"):
        return
    try:
        lines = MEMBERSHIP.read_text(encoding="ascii").splitlines()
    except OSError:  # hidden
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = ROOT / controller if controllers else ROOT
        folder = top / group.lstrip("/")
        for place in (folder, *folder.parents):
            yield place, not controllers
            if place == top:
                break
