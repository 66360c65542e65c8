"""The devices of this machine by their names."""

from __future__ import annotations

import torch

from midigpt_core.config.wording import spell
from midigpt_core.errors import ConfigError


def device_named(name: torch.device | str | None) -> torch.device:
    """The device ``name``; None: the GPU if there is one, else the CPU; ``auto``: cuda, else mps, else cpu.

    Raises ConfigError for a name that PyTorch does not know and for a device that is not available.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name is None:
        return torch.device("cuda" if available["cuda"] else "cpu")
    if name == "auto":
        return torch.device(next(kind for kind, found in available.items() if found))
    choices = ", ".join((*(kind for kind, found in available.items() if found), "auto"))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {spell(name)} is unknown. Choose one of {choices}.") from error
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if not available.get(device.type, True) or (device.index or 0) >= count:
        raise ConfigError(f"device {spell(str(name))} is not available. Choose one of {choices}.")
    return device
