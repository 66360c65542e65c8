"""The Linux control groups of this process, through which batch systems and containers limit its resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def folders(controller: str, membership: Path, root: Path) -> Iterator[tuple[Path, bool]]:
    """The folder of this process's control group for ``controller`` and of every parent group, each with whether it
    uses version 2 of the interface.

    ``membership`` is the file that names the groups (``/proc/self/cgroup``), ``root`` the folder that contains them.
    Some of the folders may not exist: a container sees only its own.
    """
    try:
        lines = membership.read_text(encoding="ascii").splitlines()
    except OSError:  # not Linux, or hidden
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        folder = top / group.lstrip("/")
        for place in (folder, *folder.parents):
            yield place, not controllers
            if place == top:
                break
