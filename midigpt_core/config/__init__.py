"""Configuration: :class:`TrainConfig`, and strict structuring of plain values into typed ones.

``reading`` turns a JSON, YAML or TOML file into plain values, ``structure`` checks them against types, ``train`` holds
the fields, ``choices`` the components they choose, ``overrides`` ``--set``, ``convert`` files of midigpt 0.4.2.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midigpt_core.config.overrides import apply_overrides
    from midigpt_core.config.train import TrainConfig

__all__ = ["TrainConfig", "apply_overrides"]

_HOMES = {"TrainConfig": "train", "apply_overrides": "overrides"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
