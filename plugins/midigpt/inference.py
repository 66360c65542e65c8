"""``InferenceEngine`` and ``load_checkpoint``."""

from __future__ import annotations

from midigpt_core.checkpoint import Bundle, load_checkpoint
from midigpt_core.inference import InferenceEngine

__all__ = ["Bundle", "InferenceEngine", "load_checkpoint"]
