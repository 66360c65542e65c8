"""``TrainConfig`` and ``train``, and the programs ``python -m midigpt.training.preprocess`` and ``….trainer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midigpt_core.lazy import lazy_names

if TYPE_CHECKING:
    from midigpt_core.config import TrainConfig
    from midigpt_core.training.run import train

__all__ = ["TrainConfig", "train"]

__getattr__ = lazy_names(__name__, {"TrainConfig": "midigpt_core.config", "train": "midigpt_core.training.run"})
