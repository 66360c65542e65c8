"""The arithmetic of a run: the configured precision, if the machine supports it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from midigpt_core.config.train import FSDP
from midigpt_core.errors import ConfigError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from midigpt_core.config import TrainConfig

#: The configuration's name -> Lightning's.
LIGHTNING_NAMES = {"fp16": "16-mixed", "bf16": "bf16-mixed", "fp32": "32-true"}
_AUTOCAST = {"fp16": torch.float16, "bf16": torch.bfloat16}


def usable_precision(precision: str, *, gpu: bool) -> str:
    """The precision to use: fp32 in place of fp16 without a GPU, else ``precision``."""
    return "fp32" if precision == "fp16" and not gpu else precision


def require_fsdp_support(config: TrainConfig, precision: str) -> None:
    """Raise :class:`ConfigError` if the strategy does not support ``precision``, a usable one."""
    if config.strategy == FSDP and precision == "fp16":
        raise ConfigError("strategy: fsdp does not support precision fp16. Set precision to bf16 or fp32.")


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which Lightning runs a forward pass in this precision."""
    dtype = _AUTOCAST.get(usable_precision(precision, gpu=device.type == "cuda"))
    return torch.autocast(device.type, dtype=dtype) if dtype else contextlib.nullcontext()
