"""``InferenceEngine`` and what it is asked with; ``load_checkpoint``."""

from __future__ import annotations

from midigpt_core.checkpoint import Bundle, load_checkpoint
from midigpt_core.inference import (
    GenerationRequest,
    InferenceConfig,
    InferenceEngine,
    RequestValidationError,
    TrackPrompt,
)

__all__ = [
    "Bundle",
    "GenerationRequest",
    "InferenceConfig",
    "InferenceEngine",
    "RequestValidationError",
    "TrackPrompt",
    "load_checkpoint",
]
