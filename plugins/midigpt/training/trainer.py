"""``TrainConfig`` and ``train``; as a program, the command ``midigpt train``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_core.config import TrainConfig
    from midigpt_core.training.run import TrainResult, train

__all__ = ["TrainConfig", "TrainResult", "train"]

# Lazy: the program must report a wrong argument before it imports torch.
_HOMES = {
    "TrainConfig": "midigpt_core.config",
    "TrainResult": "midigpt_core.training.run",
    "train": "midigpt_core.training.run",
}


__getattr__ = lazy_names(__name__, _HOMES)


if __name__ == "__main__":
    from midigpt_core.cli.main import run
    from midigpt_core.cli.train import train as command

    sys.exit(run(command, "python -m midigpt.training.trainer"))
