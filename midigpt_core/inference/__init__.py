"""Asking a trained model: ``engine`` loads a bundle and gives logits."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midigpt_core.inference.engine import InferenceEngine

__all__ = ["InferenceEngine"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("midigpt_core.inference.engine"), name)
